import Certificates
import Identity
import Testing
import Time

@Suite struct SPIFFEBundleTests {
    @Test func aBundleComesBackAsItWent() throws {
        for algorithm in everyAlgorithm {
            let mesh = try Mesh(algorithm)
            var bundle = SPIFFEBundle(
                trustDomain: mesh.domain, x509Authorities: [mesh.root, mesh.intermediate.certificate], sequence: 42,
                refreshHint: .seconds(300))
            bundle.jwtAuthorities = try everyAlgorithm.enumerated().map {
                JWTAuthority(keyID: "key-\($0.offset)", publicKey: try PrivateKey.generate($0.element).publicKey)
            }
            #expect(try SPIFFEBundle(json: try bundle.json(), trustDomain: mesh.domain) == bundle)
        }
    }

    @Test func theSpiffeLibraryReadsOurBundles() throws {
        let mesh = try Mesh()
        let key = try PrivateKey.generate(.ecdsaP256)
        let bundle = SPIFFEBundle(
            trustDomain: mesh.domain, x509Authorities: [mesh.root],
            jwtAuthorities: [JWTAuthority(keyID: "key-1", publicKey: key.publicKey)], sequence: 7,
            refreshHint: .seconds(60))
        let folder = try Folder()
        _ = try folder.write("bundle", try bundle.json())
        let said = try python(
            """
            from spiffe import JwtBundle, TrustDomain
            from cryptography import x509
            import base64, json
            bundle = open("bundle", "rb").read()
            document = json.loads(bundle)
            authority = next(k for k in document["keys"] if k["use"] == "x509-svid")
            print(x509.load_der_x509_certificate(base64.b64decode(authority["x5c"][0])).subject.rfc4514_string())
            print(sorted(document), sorted(authority))
            read = JwtBundle.parse(TrustDomain("mesh.test"), json.dumps(
                {"keys": [k for k in document["keys"] if k["use"] == "jwt-svid"]}).encode())
            print(sorted(read.jwt_authorities))
            """, in: folder)
        #expect(
            said == """
                CN=root,O=Martinet
                ['keys', 'spiffe_refresh_hint', 'spiffe_sequence'] ['crv', 'kty', 'use', 'x', 'x5c', 'y']
                ['key-1']

                """)
    }

    @Test func otherKeysAreSkippedAndBrokenOnesAreErrors() throws {
        let domain = try TrustDomain("mesh.test")
        func read(_ json: String) throws -> SPIFFEBundle {
            try SPIFFEBundle(json: Array(json.utf8), trustDomain: domain)
        }
        func reason(_ json: String) -> String? {
            if case .bundleUnreadable(let reason)? = certificateError({ _ = try read(json) }) { return reason }
            return nil
        }
        let bundle = try read(#"{"keys":[{"use":"sig","kty":"oct","k":"AA"},{"kty":"EC"}],"spiffe_sequence":1,"x":{}}"#)
        #expect(bundle.sequence == 1 && bundle.refreshHint == nil)
        #expect(bundle.x509Authorities.isEmpty && bundle.jwtAuthorities.isEmpty)
        let mesh = try Mesh()
        let leaf = try mesh.intermediate.issue(try mesh.template(), for: mesh.rootKey.publicKey)
        let document = SPIFFEBundle(trustDomain: domain, x509Authorities: [leaf])
        #expect(reason(String(decoding: try document.json(), as: UTF8.self))?.contains("no authority") == true)
        for broken in [
            "", "[]", "{}", #"{"keys":{}}"#, #"{"keys":[{"use":"x509-svid","kty":"EC"}]}"#,
            #"{"keys":[{"use":"x509-svid","x5c":["AAAA"]}]}"#, #"{"keys":[{"use":"jwt-svid","kty":"EC"}]}"#,
            #"{"keys":[{"use":"jwt-svid","kid":"a","kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#,
            #"{"keys":[{"use":"jwt-svid","kid":"a","kty":"oct","k":"AA"}]}"#,
            #"{"keys":[{"use":"jwt-svid","kid":"a","kty":"RSA","n":"AQAB","e":"AQAB"}]}"#,
            #"{"keys":[],"spiffe_sequence":-1}"#,
        ] { #expect(reason(broken) != nil, "taken: \(broken)") }
        #expect(reason("{\"keys\":[" + Array(repeating: "{}", count: 1001).joined(separator: ",") + "]}") != nil)
        #expect(reason(String(repeating: " ", count: 5 << 20)) != nil)
        #expect(try read(#"{"keys":[],"spiffe_refresh_hint":99999999999999}"#).refreshHint == .seconds(1 << 32))
    }
}
