import Certificates
import Foundation
import Testing

@Suite struct KeyTests {
    @Test(arguments: everyAlgorithm)
    func opensslReadsOurKeysAndWeReadItsFormats(algorithm: KeyAlgorithm) throws {
        let folder = try Folder()
        let key = try PrivateKey.generate(algorithm)
        let file = try folder.write("key.pem", try key.pem())
        try openssl(["pkey", "-in", file, "-check", "-noout"])
        try openssl(["pkey", "-in", file, "-pubout", "-outform", "DER", "-out", "public.der"], in: folder)
        #expect(try folder.read("public.der") == key.publicKey.spki)
        // SEC 1 and PKCS#1; Ed25519 has no form but PKCS#8.
        let older = algorithm == .ed25519 ? [] : ["-traditional"]
        try openssl(["pkey", "-in", file, "-out", "traditional.pem"] + older, in: folder)
        try openssl(["pkey", "-in", file, "-aes256", "-passout", "pass:open sesame", "-out", "sealed.pem"], in: folder)
        #expect(try PrivateKey(pem: try folder.read("traditional.pem")).publicKey == key.publicKey)
        let sealed = try folder.read("sealed.pem")
        let opened = try PrivateKey(pem: sealed, passphrase: Array("open sesame".utf8))
        #expect(opened.publicKey == key.publicKey && opened.publicKey.algorithm == algorithm)
        let message = Array("a message".utf8)
        #expect(key.publicKey.verify(try opened.sign(message), over: message))
        try opened.pkcs8().withUnsafeBytes { ours in
            try key.pkcs8().withUnsafeBytes { #expect(Array($0) == Array(ours)) }
        }
    }

    @Test func aPassphraseSealsAKey() throws {
        let folder = try Folder()
        let key = try PrivateKey.generate(.ecdsaP256)
        let sealed = try key.pem(passphrase: Array("open sesame".utf8))
        #expect(String(decoding: sealed, as: UTF8.self).hasPrefix("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))
        let file = try folder.write("sealed.pem", sealed)
        try openssl(["pkey", "-in", file, "-passin", "pass:open sesame", "-pubout", "-out", "/dev/null"])
        let parameters = try openssl(["asn1parse", "-in", file])
        for word in ["PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc", ":0927C0"] {
            #expect(parameters.contains(word), "no \(word) in \(parameters)")
        }
        #expect(try PrivateKey(pem: sealed, passphrase: Array("open sesame".utf8)).publicKey == key.publicKey)
        #expect(
            certificateError { _ = try PrivateKey(pem: sealed) } == .passphraseMissing(source: "the private key"))
        #expect(
            certificateError { _ = try PrivateKey(pem: sealed, passphrase: Array("wrong".utf8), source: "ca.key") }
                == .passphraseWrong(source: "ca.key"))
        #expect(certificateError { _ = try key.pem(passphrase: []) } == .passphraseLength(0))
    }

    @Test func keysThatAreWeakOddOrCorruptAreRefused() throws {
        let folder = try Folder()
        func refusal(_ arguments: [String]) throws -> CertificateError? {
            try openssl(["genpkey", "-out", "key.pem"] + arguments, in: folder)
            let pem = try folder.read("key.pem")
            return certificateError { _ = try PrivateKey(pem: pem) }
        }
        #expect(try refusal(["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]) == .keyWeak("RSA of 1024 bits"))
        for (curve, name) in [
            ("secp256k1", "secp256k1"), ("brainpoolP256r1", "brainpoolP256r1"), ("P-521", "secp521r1"),
        ] {
            #expect(
                try refusal(["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:\(curve)"])
                    == .keyUnsupported("elliptic curve \(name)"))
        }
        #expect(
            try refusal([
                "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit",
            ]) == .keyUnsupported("an elliptic curve that is given by its parameters"))
        #expect(try refusal(["-algorithm", "ED448"]) == .keyUnsupported("ED448"))
        #expect(certificateError { _ = try PrivateKey.generate(.rsa(bits: 1024)) } == .keyWeak("RSA of 1024 bits"))
        let good = try PrivateKey.generate(.ecdsaP256).pem()
        for count in [0, 1, 30, 100, good.count - 40] {
            guard case .keyUnreadable? = certificateError({ _ = try PrivateKey(pem: good.prefix(count)) }) else {
                Issue.record("a key of \(count) bytes")
                continue
            }
        }
    }

    @Test func aPointThatIsNotOnTheCurveIsNoKey() throws {
        var spki = try PrivateKey.generate(.ecdsaP256).publicKey.spki
        spki[spki.count - 1] ^= 1
        guard case .keyInvalid? = certificateError({ _ = try PublicKey(spki: spki) }) else {
            Issue.record("a point off the curve")
            return
        }
    }

    @Test(arguments: everyAlgorithm)
    func signaturesAreChecked(algorithm: KeyAlgorithm) throws {
        let (key, other) = (try PrivateKey.generate(algorithm), try PrivateKey.generate(algorithm))
        let message = Array("a message".utf8)
        for _ in 0..<(algorithm == .ecdsaP256 ? 300 : 3) {
            let signature = try key.sign(message)
            #expect(key.publicKey.verify(signature, over: message))
            #expect(!other.publicKey.verify(signature, over: message))
            #expect(!key.publicKey.verify(signature, over: message + [0]))
            #expect(!key.publicKey.verify(Array(signature.dropLast()), over: message))
            #expect(!key.publicKey.verify([], over: message))
            var damaged = signature
            damaged[damaged.count / 2] ^= 4
            #expect(!key.publicKey.verify(damaged, over: message))
        }
    }

    @Test func nothingShowsAKey() throws {
        for algorithm in everyAlgorithm {
            let key = try PrivateKey.generate(algorithm)
            let secret = try key.pkcs8()
            let bytes = secret.withUnsafeBytes { Array($0) }
            var shown = "\(key) \(String(reflecting: key)) \(secret) \(String(reflecting: secret)) "
            dump(key, to: &shown)
            dump(secret, to: &shown)
            dump([key], to: &shown)
            dump((secret, key), to: &shown)
            shown += "\(Mirror(reflecting: key).children.map { "\($0)" }) \(Mirror(reflecting: secret).children.count)"
            #expect(shown.contains("secret bytes") && shown.utf8.count < 1200)
            let hex = bytes.map { String($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            let base64 = Data(bytes).base64EncodedString()
            for start in stride(from: 40, to: 64, by: 4) {
                #expect(!shown.contains(hex.dropFirst(start).prefix(12)))
                #expect(!shown.contains(base64.dropFirst(start).prefix(10)))
            }
        }
    }
}
