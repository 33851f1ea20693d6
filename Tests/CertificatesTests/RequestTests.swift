import Certificates
import Identity
import Testing
import Time

/// Certificate requests: ours in the eyes of openssl, and the bad ones that strangers send.
@Suite struct RequestTests {
    @Test(arguments: everyAlgorithm)
    func opensslVerifiesOurRequests(algorithm: KeyAlgorithm) throws {
        let key = try PrivateKey.generate(algorithm)
        let names = AlternativeNames(
            uris: ["spiffe://mesh.test/ns/a/sa/b"], dnsNames: ["a.test"], ipAddresses: ["10.0.0.1"])
        let der = try SigningRequest.make(key: key, names: names)
        let folder = try Folder()
        let file = try folder.write("csr.pem", SigningRequest.pem(der: der))
        let text = try openssl(["req", "-in", file, "-noout", "-verify", "-text"])
        #expect(text.contains("verify OK"))
        #expect(text.contains("URI:spiffe://mesh.test/ns/a/sa/b, DNS:a.test, IP Address:10.0.0.1"))
        let request = try SigningRequest(pem: SigningRequest.pem(der: der))
        #expect(request == (try SigningRequest(der: der)))
        #expect(request.publicKey == key.publicKey && request.names == names && !request.wantsAuthority)
        #expect(request.otherExtensions.isEmpty && request.subject.isEmpty)
        let bare = try SigningRequest(der: try SigningRequest.make(key: key))
        #expect(bare.names == AlternativeNames())
    }

    @Test(arguments: [
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        ["-newkey", "rsa:2048"], ["-newkey", "rsa:3072", "-sha512"], ["-newkey", "ed25519"],
    ])
    func requestsOfOpensslAreRead(key: [String]) throws {
        let request = try made(key, ["subjectAltName=URI:spiffe://mesh.test/a,DNS:b.test,email:c@d.test"])
        #expect(request.uris == ["spiffe://mesh.test/a"] && request.dnsNames == ["b.test"])
        #expect(request.names.otherKinds == ["email"])
        #expect(request.subject.description == "CN=web,O=Martinet" && !request.wantsAuthority)
    }

    @Test func whatARequestAsksForIsSeen() throws {
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        #expect(try made(key, ["basicConstraints=CA:TRUE"]).wantsAuthority)
        #expect(try made(key, ["keyUsage=keyCertSign"]).wantsAuthority)
        #expect(try !made(key, ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature"]).wantsAuthority)
        #expect(
            try made(key, ["1.2.3.4=ASN1:NULL", "nameConstraints=permitted;DNS:a.test"]).otherExtensions
                == ["1.2.3.4", "2.5.29.30"])
        let own = try SigningRequest.make(key: try PrivateKey.generate(.ecdsaP256), isAuthority: true)
        #expect(try SigningRequest(der: own).wantsAuthority)
        // What a request asks for stands in no certificate: the issuer writes its own.
        let mesh = try Mesh()
        let leaf = try mesh.intermediate.issue(
            try mesh.template(), for: try made(key, ["basicConstraints=CA:TRUE", "subjectAltName=DNS:evil"]).publicKey)
        #expect(!leaf.isAuthority && leaf.dnsNames.isEmpty && leaf.uris == ["spiffe://mesh.test/ns/shop/sa/web"])
    }

    @Test func requestsWithWeakOrOddKeysOrDigestsAreRefused() throws {
        func refusal(_ key: [String]) -> CertificateError? { certificateError { _ = try made(key, []) } }
        #expect(refusal(["-newkey", "rsa:1024"]) == .keyWeak("RSA of 1024 bits"))
        for curve in ["secp256k1", "brainpoolP256r1"] {
            #expect(
                refusal(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:\(curve)"])
                    == .keyUnsupported("elliptic curve \(curve)"))
        }
        #expect(
            refusal(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha1"])
                == .signatureAlgorithmRefused("ecdsa-with-SHA1"))
        for digest in ["sha1", "md5"] {
            #expect(
                refusal(["-newkey", "rsa:2048", "-\(digest)"])
                    == .signatureAlgorithmRefused("RSA-\(digest.uppercased())"))
        }
        #expect(
            refusal(["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"])
                == .signatureAlgorithmRefused("RSASSA-PSS"))
    }

    @Test func aRequestThatAnotherKeySignedIsRefused() throws {
        let (key, other) = (try PrivateKey.generate(.ecdsaP256), try PrivateKey.generate(.ecdsaP256))
        let der = try SigningRequest.make(key: key)
        // The same request with the other's key inside.
        let place = try #require(der.firstRange(of: key.publicKey.spki))
        var stolen = der
        stolen.replaceSubrange(place, with: other.publicKey.spki)
        #expect(certificateError { _ = try SigningRequest(der: stolen) } == .requestSignatureInvalid)
    }

    @Test func oversizedRequestsAreRefusedBeforeTheyAreRead() throws {
        let bytes = 1 << 20
        #expect(
            certificateError { _ = try SigningRequest(der: [UInt8](repeating: 0x30, count: bytes)) }
                == .requestTooLarge(bytes: bytes, allowed: 65_536))
        #expect(
            certificateError { _ = try SigningRequest(pem: [UInt8](repeating: 0x41, count: bytes)) }
                == .requestTooLarge(bytes: bytes, allowed: 131_072))
        // A real one of that kind: a megabyte of names.
        let names = AlternativeNames(
            uris: [], dnsNames: (0..<5000).map { "name-\($0).test" }, ipAddresses: [])
        let der = try SigningRequest.make(key: try PrivateKey.generate(.ecdsaP256), names: names)
        #expect(
            certificateError { _ = try SigningRequest(der: der) }
                == .requestTooLarge(bytes: der.count, allowed: 65_536))
    }

    private func made(_ key: [String], _ extensions: [String]) throws -> SigningRequest {
        let folder = try Folder()
        try openssl(
            ["req", "-new", "-noenc", "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/O=Martinet/CN=web"] + key
                + extensions.flatMap { ["-addext", $0] }, in: folder)
        return try SigningRequest(pem: try folder.read("csr.pem"))
    }
}
