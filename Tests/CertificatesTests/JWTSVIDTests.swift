import Certificates
import Foundation
import Identity
import Testing
import Time

@Suite struct JWTSVIDTests {
    private static let signers: [KeyAlgorithm] = [.ecdsaP256, .ecdsaP384, .rsa(bits: 2048)]

    private func refusal(_ body: () throws -> Void) -> JWTRefusal? {
        do {
            try body()
            return nil
        } catch {
            return error as? JWTRefusal
        }
    }

    private struct Signer {
        let domain: TrustDomain
        let key: PrivateKey
        let bundle: SPIFFEBundle
        let identity: SPIFFEID

        init(_ algorithm: KeyAlgorithm = .ecdsaP256) throws {
            domain = try TrustDomain("mesh.test")
            key = try PrivateKey.generate(algorithm)
            bundle = SPIFFEBundle(
                trustDomain: domain, jwtAuthorities: [JWTAuthority(keyID: "key-1", publicKey: key.publicKey)])
            identity = try SPIFFEID(domain, namespace: "shop", serviceAccount: "web")
        }

        func sign(_ audience: [String] = ["billing"], keyID: String = "key-1") throws -> JWTSVID {
            try JWTSVID.sign(
                identity, audience: audience, validity: now..<now + .seconds(300), key: key, keyID: keyID)
        }

        @discardableResult
        func verify(
            _ token: String, audience: String = "billing", at moment: Timestamp = now, bundle: SPIFFEBundle? = nil
        ) throws -> JWTSVID {
            try JWTSVID(
                verifying: token, audience: audience, bundles: [domain: bundle ?? self.bundle], now: moment)
        }
    }

    @Test(arguments: signers) func pyJWTBelievesOurTokensByOurKeySet(algorithm: KeyAlgorithm) throws {
        let signer = try Signer(algorithm)
        let svid = try signer.sign(["billing", "audit"])
        let folder = try Folder()
        _ = try folder.write("token", Array(svid.token.utf8))
        _ = try folder.write("jwks", try signer.bundle.jwks())
        let claims = try python(
            """
            import json, jwt
            token = open("token").read()
            keys = {key["kid"]: jwt.PyJWK(key | {"alg": jwt.get_unverified_header(token)["alg"]})
                    for key in json.load(open("jwks"))["keys"]}
            claims = jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], audience="audit",
                                algorithms=["ES256", "ES384", "RS256"], options={"verify_exp": False, "verify_iat": False})
            print(claims["sub"], claims["aud"], claims["exp"] - claims["iat"])
            """, in: folder)
        #expect(claims == "spiffe://mesh.test/ns/shop/sa/web ['billing', 'audit'] 300\n")
        let read = try signer.verify(svid.token, audience: "audit")
        #expect(read.spiffeID == signer.identity && read.audience == ["billing", "audit"] && read == svid)
    }

    @Test(arguments: signers) func tokensOfPyJWTAreRead(algorithm: KeyAlgorithm) throws {
        let signer = try Signer(algorithm)
        let folder = try Folder()
        _ = try folder.write("key.pem", try signer.key.pem())
        let name = algorithm == .ecdsaP256 ? "ES256" : algorithm == .ecdsaP384 ? "ES384" : "RS256"
        let token = try python(
            """
            import jwt
            print(jwt.encode({"sub": "spiffe://mesh.test/a", "aud": "billing", "exp": \(now.seconds + 60).5, "more": [1]},
                             open("key.pem").read(), algorithm="\(name)", headers={"kid": "key-1"}), end="")
            """, in: folder)
        let read = try signer.verify(token)
        #expect(read.spiffeID.path == "/a" && read.audience == ["billing"] && read.issuedAt == nil)
        #expect(String(decoding: read.claims, as: UTF8.self).contains(#""more":[1]"#))
    }

    @Test func tokensAreRefusedEachWithItsReason() throws {
        let signer = try Signer()
        let svid = try signer.sign()
        #expect(
            refusal { try signer.verify(svid.token, at: now + .seconds(300)) } == .expired(at: now + .seconds(300)))
        try signer.verify(svid.token, at: now + .seconds(299))
        #expect(
            refusal { try signer.verify(svid.token, audience: "bill") } == .wrongAudience(["billing"], expected: "bill")
        )
        #expect(refusal { try signer.verify(try signer.sign(keyID: "key-2").token) } == .unknownKey("key-2"))
        let stranger = try Signer()
        #expect(refusal { try signer.verify(try stranger.sign().token) } == .signatureInvalid)
        #expect(
            refusal { _ = try JWTSVID(verifying: svid.token, audience: "billing", bundles: [:], now: now) }
                == .unknownTrustDomain(signer.domain))
        #expect(refusal { _ = try signer.sign([]) } == .audienceMissing)
        #expect(refusal { _ = try signer.sign([""]) } == .audienceMissing)
        guard case .signing? = refusal({ _ = try Signer(.ed25519).sign() }) else {
            Issue.record("EdDSA, which JWT-SVID does not have")
            return
        }
        guard case .malformed? = refusal({ try signer.verify(String(repeating: "a", count: 1 << 20)) }) else {
            Issue.record("a token of 1 MiB")
            return
        }
    }

    @Test func theTokenDoesNotChooseItsAlgorithm() throws {
        let signer = try Signer(.rsa(bits: 2048))
        let folder = try Folder()
        _ = try folder.write("public.der", signer.key.publicKey.spki)
        // The public key as the secret of a symmetric signature, and no signature at all.
        let tokens = try python(
            """
            import base64, hashlib, hmac, json
            def part(value): return base64.urlsafe_b64encode(value).rstrip(b"=")
            def token(header, sign):
                signed = part(json.dumps(header).encode()) + b"." + part(json.dumps(
                    {"sub": "spiffe://mesh.test/a", "aud": ["billing"], "exp": \(now.seconds + 60)}).encode())
                return (signed + b"." + part(sign(signed))).decode()
            public = open("public.der", "rb").read()
            pem = (b"-----BEGIN PUBLIC KEY-----\\n" + base64.encodebytes(public) + b"-----END PUBLIC KEY-----\\n")
            for secret in public, pem:
                print(token({"alg": "HS256", "kid": "key-1"}, lambda s: hmac.new(secret, s, hashlib.sha256).digest()))
            for name in "none", "None", "HS512", "ES256", "EdDSA", "PS256":
                print(token({"alg": name, "kid": "key-1"}, lambda s: b""))
            """, in: folder)
        let lines = tokens.split(separator: "\n").map(String.init)
        #expect(lines.count == 8)
        for token in lines {
            guard case .algorithmRefused? = refusal({ try signer.verify(token) }) else {
                Issue.record("taken: \(token)")
                continue
            }
        }
    }

    @Test func everyDamagedByteIsARefusal() throws {
        let signer = try Signer()
        let token = Array(try signer.sign().token.utf8)
        var believed = 0
        for position in token.indices {
            for byte in "A_.=".utf8 where token[position] != byte {
                var damaged = token
                damaged[position] = byte
                if (try? signer.verify(String(decoding: damaged, as: UTF8.self))) != nil { believed += 1 }
            }
        }
        for count in token.indices {
            if (try? signer.verify(String(decoding: token[..<count], as: UTF8.self))) != nil { believed += 1 }
        }
        #expect(believed == 0)
    }

    @Test func noDescriptionShowsAToken() throws {
        let svid = try Signer().sign()
        var shown = "\(svid) \(String(reflecting: svid))"
        dump(svid, to: &shown)
        for part in svid.token.split(separator: ".") { #expect(!shown.contains(part.prefix(20))) }
    }
}
