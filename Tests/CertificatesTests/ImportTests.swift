import Certificates
import Identity
import Testing
import Time

/// Authorities that others made: what `martinet ca import` must find wrong with them.
@Suite struct ImportTests {
    @Test func aKeyOfAnotherCertificateIsRefused() throws {
        let mesh = try Mesh()
        let stranger = try PrivateKey.generate(.ecdsaP256)
        let name = mesh.intermediate.certificate.shortName
        #expect(
            certificateError { _ = try Issuer(chain: mesh.intermediate.chain, key: stranger) }
                == .keyDoesNotMatch(certificate: name, matchingPosition: nil))
        #expect(
            certificateError { _ = try Issuer(chain: mesh.intermediate.chain, key: mesh.rootKey) }
                == .keyDoesNotMatch(certificate: name, matchingPosition: 2))
    }

    @Test func aCertificateWithoutTheAuthorityBitDoesNotSign() throws {
        let mesh = try Mesh()
        let key = try PrivateKey.generate(.ecdsaP256)
        let leaf = try mesh.intermediate.issue(try mesh.template(), for: key.publicKey)
        #expect(
            certificateError { _ = try Issuer(chain: [leaf] + mesh.intermediate.chain, key: key) }
                == .notAnAuthority(certificate: leaf.shortName))
    }

    @Test func anAuthorityThatMayNotSignCertificatesDoesNot() throws {
        let folder = try Folder()
        try openssl(
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN=r",
                "-keyout", "key.pem", "-out", "ca.pem", "-addext", "keyUsage=digitalSignature",
            ], in: folder)
        let certificate = try Certificate.list(pem: try folder.read("ca.pem"))[0]
        let key = try PrivateKey(pem: try folder.read("key.pem"))
        #expect(
            certificateError { _ = try Issuer(chain: [certificate], key: key) }
                == .mayNotSignCertificates(certificate: certificate.shortName))
    }

    @Test func aChainInTheWrongOrderIsRefused() throws {
        let (mesh, other) = (try Mesh(), try Mesh())
        let intermediate = mesh.intermediate.certificate
        // The namesake root has the right name and another key.
        #expect(
            certificateError { _ = try Issuer(chain: [intermediate, other.root], key: mesh.intermediate.key) }
                == .chainOutOfOrder(
                    position: 1, certificate: intermediate.shortName, issuer: "CN=root,O=Martinet",
                    next: other.root.shortName))
        #expect(
            certificateError { _ = try Issuer(chain: [mesh.root, intermediate], key: mesh.rootKey) } != nil)
        #expect(certificateError { _ = try Issuer(chain: [], key: mesh.rootKey) } != nil)
    }

    @Test func pathLengthsHold() throws {
        let mesh = try Mesh()
        let key = try PrivateKey.generate(.ecdsaP256)
        let error = certificateError {
            _ = try mesh.intermediate.issueAuthority(
                subject: try DistinguishedName(commonName: "third"), trustDomain: mesh.domain,
                validity: now..<now + day, serial: try Serial.random(), for: key.publicKey)
        }
        #expect(error == .pathLengthExceeded(certificate: mesh.intermediate.certificate.shortName))
    }

    @Test func theRulesForWorkloadsHold() throws {
        let folder = try Folder()
        func issued(_ extensions: [String]) throws -> Certificate {
            try openssl(
                ["req", "-x509", "-newkey", "ed25519", "-noenc", "-subj", "/CN=w", "-keyout", "k", "-out", "c"]
                    + extensions.flatMap { ["-addext", $0] }, in: folder)
            return try Certificate.list(pem: try folder.read("c"))[0]
        }
        let usage = ["keyUsage=digitalSignature", "basicConstraints=CA:FALSE"]
        let good = "URI:spiffe://mesh.test/ns/a/sa/b"
        #expect(try issued(usage + ["subjectAltName=\(good),DNS:a.test"]).spiffeID().path == "/ns/a/sa/b")
        for extensions in [
            usage, usage + ["subjectAltName=DNS:a.test"], usage + ["subjectAltName=\(good),URI:spiffe://mesh.test/c"],
            usage + ["subjectAltName=\(good),URI:https://mesh.test"], usage + ["subjectAltName=URI:spiffe://mesh.test"],
            usage + ["subjectAltName=URI:spiffe://MESH.test/a"], usage + ["subjectAltName=URI:https://mesh.test/a"],
            ["subjectAltName=\(good)", "keyUsage=digitalSignature", "basicConstraints=CA:TRUE"],
            ["subjectAltName=\(good)", "keyUsage=digitalSignature,keyCertSign", "basicConstraints=CA:FALSE"],
            ["subjectAltName=\(good)", "keyUsage=keyAgreement", "basicConstraints=CA:FALSE"],
        ] {
            let certificate = try issued(extensions)
            guard case .notAnSVID? = certificateError({ _ = try certificate.spiffeID() }) else {
                Issue.record("taken for an SVID: \(extensions)")
                continue
            }
        }
    }

    @Test func chainsAreVerifiedAtAGivenMoment() throws {
        let (mesh, stranger) = (try Mesh(), try Mesh(name: "stranger"))
        let key = try PrivateKey.generate(.ecdsaP256)
        let leaf = try mesh.intermediate.issue(try mesh.template(), for: key.publicKey)
        let chain = [leaf, mesh.intermediate.certificate]
        func problem(
            _ chain: [Certificate], _ anchor: Certificate, _ moment: Timestamp, _ purpose: ChainVerification.Purpose
        ) -> CertificateProblem? {
            let error = certificateError {
                try ChainVerification.verify(chain, anchors: [anchor], at: moment, purpose: purpose)
            }
            if case .refused(let problem, _, _)? = error { return problem }
            return nil
        }
        for purpose in [ChainVerification.Purpose.server, .client] {
            #expect(problem(chain, mesh.root, now, purpose) == nil)
            #expect(problem(chain, mesh.root, leaf.notAfter + .seconds(-1), purpose) == nil)
            // libcrypto is a second stricter than RFC 5280, which includes notAfter.
            #expect(problem(chain, mesh.root, leaf.notAfter, purpose) == .expired)
            #expect(problem(chain, mesh.root, now + .seconds(-1), purpose) == .notYetValid)
            #expect(problem(chain, stranger.root, now, purpose) == .unknownIssuer)
            #expect(problem([leaf], mesh.root, now, purpose) == .unknownIssuer)
        }
        #expect(problem(chain, mesh.root, now, .authority) == .notAnAuthority)
        #expect(problem([mesh.intermediate.certificate], mesh.root, now, .authority) == nil)
        // An intermediate that is trusted as it stands.
        #expect(problem([leaf], mesh.intermediate.certificate, now, .server) == nil)
        #expect(problem([Certificate](repeating: leaf, count: 17), mesh.root, now, .server) == .chainTooLong)
        // Signed by a leaf.
        let pretender = try folderIssued(by: leaf, key)
        #expect(problem([pretender, leaf] + chain.dropFirst(), mesh.root, now, .server) != nil)
    }

    /// What openssl, which does not ask whether it may, signs with a leaf's key.
    private func folderIssued(by leaf: Certificate, _ key: PrivateKey) throws -> Certificate {
        let folder = try Folder()
        let request = try SigningRequest.make(key: try PrivateKey.generate(.ecdsaP256))
        _ = try folder.write("csr.pem", SigningRequest.pem(der: request))
        _ = try folder.write("ca.pem", leaf.pem)
        _ = try folder.write("ca.key", try key.pem())
        try openssl(
            [
                "x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "3650", "-subj",
                "/CN=p",
                "-out", "out.pem",
            ], in: folder)
        return try Certificate.list(pem: try folder.read("out.pem"))[0]
    }
}
