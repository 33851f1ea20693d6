import Certificates
import Foundation
import Identity
import Testing
import Time

/// What is issued, in the eyes of the openssl command.
@Suite struct IssuingTests {
    @Test(arguments: everyAlgorithm)
    func opensslVerifiesWhatEveryKindOfAuthorityIssuesForEveryKindOfKey(authority: KeyAlgorithm) throws {
        let mesh = try Mesh(authority)
        let folder = try Folder()
        let root = try folder.write("root.pem", mesh.root.pem)
        let intermediate = try folder.write("intermediate.pem", mesh.intermediate.certificate.pem)
        for algorithm in everyAlgorithm {
            let key = try PrivateKey.generate(algorithm)
            var template = try mesh.template()
            template.dnsNames = ["web.shop.svc", "*.shop.svc"]
            template.ipAddresses = ["10.1.2.3", "2001:db8::7"]
            let leaf = try mesh.intermediate.issue(template, for: key.publicKey)
            let file = try folder.write("leaf.pem", leaf.pem)
            for purpose in ["sslserver", "sslclient"] {
                let output = try openssl([
                    "verify", "-x509_strict", "-attime", "\(now.seconds + 10)", "-purpose", purpose, "-CAfile", root,
                    "-untrusted", intermediate, file,
                ])
                #expect(output.contains("OK"))
            }
            let text = try openssl(["x509", "-in", file, "-noout", "-text"])
            for line in [
                "Version: 3", "Subject: \n", "Issuer: O = Martinet, CN = root intermediate",
                "URI:spiffe://mesh.test/ns/shop/sa/web, DNS:web.shop.svc, DNS:*.shop.svc, "
                    + "IP Address:10.1.2.3, IP Address:2001:DB8:0:0:0:0:0:7",
                "X509v3 Subject Alternative Name: critical", "X509v3 Key Usage: critical",
                "X509v3 Basic Constraints: critical\n                CA:FALSE",
                "TLS Web Server Authentication, TLS Web Client Authentication",
                "Not Before: Sep 21 14:13:20 2026 GMT", "Not After : Sep 22 14:13:20 2026 GMT",
            ] {
                #expect(text.contains(line), "no `\(line)` in \(text)")
            }
            let isRSA = if case .rsa = algorithm { true } else { false }
            #expect(text.contains(isRSA ? "Digital Signature, Key Encipherment\n" : "Digital Signature\n"))
            // The names of the keys are those that openssl computes.
            let serial = try openssl(["x509", "-in", file, "-noout", "-serial"])
            #expect(serial == "serial=\(leaf.serial)\n" && leaf.serial == "\(template.serial)")
            #expect(leaf.authorityKeyIdentifier == mesh.intermediate.key.publicKey.identifier)
            #expect(try leaf.spiffeID() == template.spiffeID)
            #expect(try leaf.publicKey == key.publicKey)
            #expect(leaf.dnsNames == template.dnsNames && leaf.ipAddresses == template.ipAddresses)
            #expect(leaf.validity == template.validity && !leaf.isAuthority && leaf.subject == "")
            #expect(try Certificate.list(pem: leaf.pem) == [leaf])
        }
    }

    @Test func authoritiesCarryWhatTheX509SVIDSpecificationAsksFor() throws {
        let mesh = try Mesh()
        let folder = try Folder()
        for (certificate, constraint) in [
            (mesh.root, "CA:TRUE\n"), (mesh.intermediate.certificate, "CA:TRUE, pathlen:0"),
        ] {
            let text = try openssl(["x509", "-noout", "-text", "-in", try folder.write("ca.pem", certificate.pem)])
            #expect(text.contains("X509v3 Basic Constraints: critical\n                \(constraint)"))
            #expect(text.contains("X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n"))
            #expect(text.contains("X509v3 Subject Alternative Name: \n                URI:spiffe://mesh.test\n"))
            #expect(certificate.isAuthority && certificate.trustDomain == mesh.domain)
        }
        #expect(mesh.root.isSelfSigned && !mesh.intermediate.certificate.isSelfSigned)
        #expect(mesh.root.pathLength == nil && mesh.intermediate.certificate.pathLength == 0)
        #expect(mesh.root.subject == "CN=root,O=Martinet")
    }

    @Test func aCrossSignedRootLetsPeersOfTheOldRootBelieveTheNew() throws {
        let (old, new) = (try Mesh(name: "old"), try Mesh(name: "new"))
        let crossed = try Issuer(chain: [old.root], key: old.rootKey).crossSign(
            new.root, trustDomain: new.domain, validity: now..<now + day * 30, serial: try Serial.random())
        #expect(crossed.subjectName == new.root.subjectName && crossed.spki == new.root.spki)
        #expect(crossed.keyIdentifier == new.root.keyIdentifier)
        let leaf = try new.intermediate.issue(
            try new.template(), for: try PrivateKey.generate(.ecdsaP256).publicKey)
        let chain = [leaf, new.intermediate.certificate, crossed]
        for root in [old.root, new.root] {
            try ChainVerification.verify(chain, anchors: [root], at: now, purpose: .server)
            let folder = try Folder()
            let output = try openssl([
                "verify", "-x509_strict", "-attime", "\(now.seconds)", "-CAfile",
                try folder.write("root.pem", root.pem), "-untrusted",
                try folder.write("chain.pem", new.intermediate.certificate.pem + crossed.pem),
                try folder.write("leaf.pem", leaf.pem),
            ])
            #expect(output.contains("OK"))
        }
        let error = certificateError {
            try ChainVerification.verify(chain.dropLast(), anchors: [old.root], at: now, purpose: .server)
        }
        guard case .refused(.unknownIssuer, _, _)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func datesFrom2050AreGeneralizedTime() throws {
        let key = try PrivateKey.generate(.ecdsaP256)
        // 2049-12-31T23:59:59Z is the last UTCTime.
        let last = Timestamp(seconds: 2_524_607_999)
        for (end, text) in [(last, "Dec 31 23:59:59 2049"), (last + .seconds(1), "Jan  1 00:00:00 2050")] {
            let root = try Issuer.selfSigned(
                subject: try DistinguishedName(commonName: "root"), trustDomain: try TrustDomain("mesh.test"),
                key: key, validity: now..<end, serial: try Serial.random())
            #expect(root.notAfter == end)
            let folder = try Folder()
            let dates = try openssl(["x509", "-noout", "-dates", "-in", try folder.write("root.pem", root.pem)])
            #expect(dates.contains("notAfter=\(text) GMT"))
        }
    }

    @Test func nothingOutlivesOrPredatesItsIssuers() throws {
        let mesh = try Mesh()
        let key = try PrivateKey.generate(.ecdsaP256).publicKey
        let end = mesh.intermediate.certificate.notAfter
        _ = try mesh.intermediate.issue(try mesh.template(until: end), for: key)
        #expect(
            certificateError {
                _ = try mesh.intermediate.issue(try mesh.template(until: end + .seconds(1)), for: key)
            }
                == .outlivesIssuer(
                    notAfter: end + .seconds(1), issuer: mesh.intermediate.certificate.shortName, issuerNotAfter: end))
        var early = try mesh.template()
        early.validity = now + .seconds(-1)..<now + day
        guard case .predatesIssuer? = certificateError({ _ = try mesh.intermediate.issue(early, for: key) }) else {
            Issue.record("a leaf from before its issuer")
            return
        }
        early.validity = now..<now
        guard case .validityInvalid? = certificateError({ _ = try mesh.intermediate.issue(early, for: key) }) else {
            Issue.record("a leaf that is never valid")
            return
        }
    }

    @Test func aRootThatExpiresFirstBoundsWhatItsIntermediateSigns() throws {
        // The root of an operator who renewed the intermediate only. openssl begins at the machine's time.
        let now = Timestamp(seconds: Int64(Date().timeIntervalSince1970))
        let rootKey = try PrivateKey.generate(.ecdsaP256)
        let folder = try Folder()
        let key = try folder.write("root.key", try rootKey.pem())
        let subordinate = try PrivateKey.generate(.ecdsaP256)
        let domain = try TrustDomain("mesh.test")
        let root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "root"), trustDomain: domain, key: rootKey,
            validity: now + day * -1..<now + day, serial: try Serial.random())
        let request = try SigningRequest.make(
            key: subordinate, subject: try DistinguishedName(commonName: "intermediate"), isAuthority: true)
        try openssl([
            "x509", "-req", "-in", try folder.write("csr.pem", SigningRequest.pem(der: request)), "-CA",
            try folder.write("root.pem", root.pem), "-CAkey", key, "-days", "20000", "-copy_extensions", "copyall",
            "-out", folder.path + "/intermediate.pem",
        ])
        let intermediate = try Certificate.list(pem: try folder.read("intermediate.pem"))[0]
        let issuer = try Issuer(chain: [intermediate, root], key: subordinate)
        #expect(issuer.validity.upperBound == root.notAfter)
        let template = LeafTemplate(
            spiffeID: try SPIFFEID(domain, namespace: "a", serviceAccount: "b"),
            validity: issuer.validity.lowerBound..<now + day * 20, serial: try Serial.random())
        guard
            case .outlivesIssuer(_, let name, _)? = certificateError({
                _ = try issuer.issue(template, for: subordinate.publicKey)
            })
        else {
            Issue.record("a leaf that outlives the root")
            return
        }
        #expect(name == root.shortName)
    }

    @Test func serialsArePositiveAndOfOneLength() throws {
        var seen: Set<Serial> = []
        for _ in 0..<1000 {
            let serial = try Serial.random()
            #expect("\(serial)".utf8.count == 32 && "4567".contains("\(serial)".first ?? " "))
            seen.insert(serial)
        }
        #expect(seen.count == 1000)
        #expect("\(Serial(random: [UInt8](repeating: 0xFF, count: 19)))".hasPrefix("7FFF"))
    }

    @Test func namesThatCannotStandInACertificateAreRefused() throws {
        let mesh = try Mesh()
        let key = try PrivateKey.generate(.ecdsaP256).publicKey
        for name in ["", "a b", "-a", "a-", "a..b", "a*.b", "*", "ä.test", String(repeating: "a", count: 64)] {
            var template = try mesh.template()
            template.dnsNames = [name]
            #expect(certificateError { _ = try mesh.intermediate.issue(template, for: key) } == .nameInvalid(name))
        }
        for address in ["", "1.2.3", "1.2.3.4.5", "::g"] {
            var template = try mesh.template()
            template.ipAddresses = [address]
            #expect(certificateError { _ = try mesh.intermediate.issue(template, for: key) } == .nameInvalid(address))
        }
    }
}
