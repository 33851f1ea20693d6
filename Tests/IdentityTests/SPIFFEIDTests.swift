import Testing

@testable import Identity

@Suite struct SPIFFEIDTests {
    @Test func aWorkloadHasANamespaceAndAServiceAccount() throws {
        let id = try SPIFFEID(TrustDomain("cluster.local"), namespace: "shop", serviceAccount: "web")
        #expect("\(id)" == "spiffe://cluster.local/ns/shop/sa/web")
        #expect(id.workload?.namespace == "shop")
        #expect(id.workload?.serviceAccount == "web")
        #expect(try SPIFFEID("\(id)") == id)
    }

    @Test func aTrustDomainHasAnIDOfItsOwn() throws {
        let id = try TrustDomain("example.org").id
        #expect("\(id)" == "spiffe://example.org")
        #expect(id.workload == nil)
        #expect(try SPIFFEID("spiffe://example.org") == id)
    }

    /// Source: SPIFFE-ID, 2.1 to 2.3.
    @Test(arguments: [
        "", "http://example.org/a", "SPIFFE://example.org/a", "spiffe://", "spiffe:///a", "spiffe://Example.org/a",
        "spiffe://example.org:80/a", "spiffe://user@example.org/a", "spiffe://example.org/", "spiffe://example.org/a/",
        "spiffe://example.org//a", "spiffe://example.org/./a", "spiffe://example.org/../a",
        "spiffe://example.org/a%20b",
        "spiffe://example.org/a?b", "spiffe://example.org/a#b", "spiffe://example.org/é", "spiffe://exämple.org/a",
        "spiffe://example.org/a\0b",
    ])
    func whatTheSpecificationForbidsIsRefused(uri: String) {
        #expect(throws: SPIFFEIDError.self) { try SPIFFEID(uri) }
    }

    @Test func aURIHasAtMost2048Bytes() throws {
        let longest = "spiffe://example.org/" + String(repeating: "a", count: 2048 - 21)
        #expect(try SPIFFEID(longest).description.utf8.count == 2048)
        #expect(throws: SPIFFEIDError.tooLong(bytes: 2049, allowed: 2048)) { try SPIFFEID(longest + "a") }
        #expect(throws: SPIFFEIDError.tooLong(bytes: 256, allowed: 255)) {
            try TrustDomain(String(repeating: "a", count: 256))
        }
    }

    @Test func aNamespaceCannotSmuggleASlash() throws {
        let domain = try TrustDomain("cluster.local")
        #expect(throws: SPIFFEIDError.self) {
            try SPIFFEID(domain, namespace: "shop/sa/root/ns/x", serviceAccount: "web")
        }
    }
}
