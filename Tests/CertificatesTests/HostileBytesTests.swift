import Certificates
import Identity
import Testing
import Time

/// Bytes changed at every place: an error or another certificate, never a crash, and never a signature that holds.
@Suite struct HostileBytesTests {
    @Test func aRequestIsSignedOverEveryByte() throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let names = AlternativeNames(uris: ["spiffe://mesh.test/ns/a/sa/b"], dnsNames: ["a.test"])
        let der = try SigningRequest.make(key: key, names: names)
        var accepted = 0
        for position in der.indices {
            for change in [0x01, 0x80, 0xFF] as [UInt8] {
                var damaged = der
                damaged[position] ^= change
                if (try? SigningRequest(der: damaged)) != nil { accepted += 1 }
            }
        }
        #expect(accepted == 0)
        for count in der.indices { #expect((try? SigningRequest(der: Array(der[..<count]))) == nil) }
        #expect((try? SigningRequest(der: der + [0])) == nil)
    }

    @Test func aDamagedCertificateVerifiesNowhere() throws {
        let mesh = try Mesh()
        let leaf = try mesh.intermediate.issue(
            try mesh.template(), for: try PrivateKey.generate(.ecdsaP256).publicKey)
        var (readable, believed) = (0, 0)
        for position in leaf.der.indices {
            var damaged = leaf.der
            damaged[position] ^= UInt8(1 << (position % 8))
            guard let certificate = try? Certificate(der: damaged) else { continue }
            readable += 1
            _ = "\(certificate) \(certificate.subject) \(certificate.issuer) \(certificate.isSelfSigned)"
            _ = try? certificate.spiffeID()
            if (try? ChainVerification.verify(
                [certificate, mesh.intermediate.certificate], anchors: [mesh.root], at: now, purpose: .server)) != nil
            {
                believed += 1
            }
        }
        #expect(readable > 100 && believed == 0)
        for count in leaf.der.indices { #expect((try? Certificate(der: leaf.der[..<count])) == nil) }
    }

    @Test func damagedPEMIsAnErrorOrTheSame() throws {
        let mesh = try Mesh()
        let chain = mesh.intermediate.certificate.pem + mesh.root.pem
        for position in chain.indices {
            for byte in [0x00, 0x2D, 0x0A, 0x41] as [UInt8] {
                var damaged = chain
                damaged[position] = byte
                _ = try? Certificate.list(pem: damaged)
            }
        }
        for count in stride(from: 0, to: chain.count, by: 3) { _ = try? Certificate.list(pem: chain.prefix(count)) }
        let cut = certificateError { _ = try Certificate.list(pem: chain.dropLast(40), source: "chain.pem") }
        #expect(cut == .certificateUnreadable(source: "chain.pem", position: 2, reason: "no END line"))
        #expect(
            certificateError { _ = try Certificate.list(pem: Array("nothing".utf8), source: "x") }
                == .certificateMissing(source: "x"))
        // Text around the blocks, Windows line ends, and blocks of other kinds.
        let windows =
            "a root\n"
            + String(decoding: mesh.root.pem, as: UTF8.self).split(separator: "\n")
            .joined(separator: "\r\n") + "\r\n" + String(decoding: try mesh.rootKey.pem(), as: UTF8.self)
        #expect(try Certificate.list(pem: Array(windows.utf8)) == [mesh.root])
    }

    @Test func damagedKeysAndBundlesAreErrorsOrKeys() throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        let pem = try key.pem()
        for position in pem.indices {
            var damaged = pem
            damaged[position] ^= 0x05
            _ = try? PrivateKey(pem: damaged)
        }
        let spki = try PrivateKey.generate(.rsa(bits: 2048)).publicKey.spki
        for position in spki.indices {
            var damaged = spki
            damaged[position] ^= 0x81
            _ = (try? PublicKey(spki: damaged))?.verify([1, 2, 3], over: [4])
        }
        let mesh = try Mesh()
        let bundle = SPIFFEBundle(
            trustDomain: mesh.domain, x509Authorities: [mesh.root],
            jwtAuthorities: [JWTAuthority(keyID: "k", publicKey: key.publicKey)])
        let json = try bundle.json()
        for position in json.indices {
            var damaged = json
            damaged[position] ^= 0x11
            _ = try? SPIFFEBundle(json: damaged, trustDomain: mesh.domain)
        }
    }
}
