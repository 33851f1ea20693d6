import Foundation
import Testing

/// Who cannot prove what he claims gets nothing, and is told why.
struct StrangerTests {
    let control: ControlPlaneProcess

    init() throws {
        control = try ControlPlaneProcess(["--ca-leaf-ttl", "10s"])
    }

    private func call(_ what: [String: Any]) throws -> String {
        let json = String(decoding: try JSONSerialization.data(withJSONObject: what), as: UTF8.self)
        let (_, output, errors) = try ChildProcess.run(
            Installation.python,
            [
                Installation.root + "/Tests/EndToEndTests/Peers/ads_caller.py", "\(control.tlsPort)",
                control.rootCertificate, json,
            ])
        return output + errors
    }

    private func claims(_ serviceAccount: String) -> [String: Any] {
        ["id": "\(serviceAccount)-1", "namespace": "shop", "service_account": serviceAccount]
    }

    @Test func aTokenOpensTheDoorToItsOwnIdentityAlone() throws {
        let token = try control.token(serviceAccount: "web", "--uses", "2")
        #expect(try call(claims("web").merging(["token": token]) { $1 }).hasPrefix("response Secret 1"))

        let stolen = try call(claims("api").merging(["token": token]) { $1 })
        #expect(stolen.hasPrefix("PERMISSION_DENIED") && stolen.contains("spiffe://"), "\(stolen)")
        #expect(control.process.log.contains("shop") && control.process.log.contains("api-1"))

        let none = try call(claims("web"))
        #expect(none.hasPrefix("UNAUTHENTICATED"), "\(none)")
        let invented = try call(claims("web").merging(["token": "invented"]) { $1 })
        #expect(invented.hasPrefix("UNAUTHENTICATED"), "\(invented)")
        let cut = try call(claims("web").merging(["token": String(token.dropLast(3))]) { $1 })
        #expect(cut.hasPrefix("UNAUTHENTICATED"), "\(cut)")
        #expect(!control.process.log.contains(token))
    }

    @Test func aTokenThatIsRevokedOrUsedUpOpensNothing() throws {
        let once = try control.token(serviceAccount: "web", "--uses", "1")
        #expect(try call(claims("web").merging(["token": once]) { $1 }).hasPrefix("response"))
        let again = try call(claims("web").merging(["token": once, "id": "web-2"]) { $1 })
        #expect(again.hasPrefix("UNAUTHENTICATED") && again.contains("all have joined"), "\(again)")

        let revoked = try control.token(serviceAccount: "web")
        let list = try control.command("token", "list", "-o", "json").output
        struct List: Decodable {
            struct Entry: Decodable {
                var id: String
                var used: Int
            }
            var tokens: [Entry]
        }
        let entries = try JSONDecoder().decode(List.self, from: Data(list.utf8)).tokens
        let unused = try #require(entries.first { $0.used == 0 }, "\(list)")
        #expect(try control.command("token", "revoke", unused.id).status == 0)
        let refused = try call(claims("web").merging(["token": revoked]) { $1 })
        #expect(refused.hasPrefix("UNAUTHENTICATED") && refused.contains("revoked"), "\(refused)")
    }

    @Test func anothersSecretIsNotGivenOut() throws {
        let token = try control.token(serviceAccount: "web")
        let own = "spiffe://cluster.local/ns/shop/sa/web"
        let other = "spiffe://cluster.local/ns/shop/sa/api"
        #expect(
            try call(claims("web").merging(["token": token, "names": [own]]) { $1 }).hasPrefix("response Secret 1"))
        let answer = try call(claims("web").merging(["token": token, "names": [other]]) { $1 })
        #expect(!answer.hasPrefix("response Secret 1"), "\(answer)")
        let metrics = try httpGet("http://127.0.0.1:\(control.httpPort)/metrics").body
        #expect(metrics.contains("martinet_secrets_refused_total{reason=\"foreign\"} 1"), "\(metrics)")
        #expect(metrics.contains("martinet_secrets_refused_total{reason=\"no_identity\"} 0"))
    }

    @Test func aMemberOfTheMeshSeesNoOthersClientStatus() throws {
        let admin = "spiffe://cluster.local/ns/shop/sa/admin"
        let control = try ControlPlaneProcess(["--operator", admin])
        let agents = try ["web", "api"].map { name in
            try Agent(control, name, ["--out", control.directory + "/" + name])
        }
        func seen(by name: String) throws -> String {
            let own = try Agent.files(of: name, from: control)
            return try ChildProcess.run(
                Installation.python,
                [
                    Installation.root + "/Tests/EndToEndTests/Peers/csds_caller.py", "\(control.tlsPort)",
                    control.rootCertificate, own.certificate, own.key,
                ]
            ).output.trimmingCharacters(in: .whitespacesAndNewlines)
        }
        try eventually("both agents; \(agents.map(\.process.log))", within: 30) {
            try seen(by: "admin") == "api-1 web-1" ? true : nil
        }
        #expect(try seen(by: "web") == "web-1")
        #expect(try seen(by: "db") == "")
    }

    private func refusal(of certificate: CertificateAuthority.Issued, saying reason: String) throws {
        let answer = try call(
            claims("web").merging(["certificate": certificate.certificate, "key": certificate.key]) { $1 })
        #expect(answer.hasPrefix("UNAVAILABLE") || answer.hasPrefix("UNAUTHENTICATED"), "\(answer)")
        try eventually("`\(reason)` in the log; \(control.process.log.suffix(2_000))") {
            control.process.log.contains(reason) ? true : nil
        }
    }

    @Test func aSelfMadeCertificateIsRefused() throws {
        let authority = try CertificateAuthority("nobody", in: control.directory)
        try refusal(of: try authority.issue("stranger"), saying: "issued by CN=nobody, trusted: CN=Martinet root")
    }

    @Test func aCertificateOfAnotherTrustDomainIsRefused() throws {
        let other = try ControlPlaneProcess(["--trust-domain", "other.test"])
        let stranger = try Agent.files(of: "web", from: other, "--trust-domain", "other.test")
        try refusal(of: stranger, saying: "certificate of an unknown issuer")
    }

    @Test func aCertificateOpensTheDoorUntilItExpires() throws {
        let own = try Agent.files(of: "web", from: control)
        let proof = ["certificate": own.certificate, "key": own.key]
        #expect(try call(claims("web").merging(proof) { $1 }).hasPrefix("response Secret 1"))
        let other = try call(claims("api").merging(proof) { $1 })
        #expect(other.hasPrefix("PERMISSION_DENIED") && other.contains("sa/web"), "\(other)")
        try eventually("the certificate to expire", within: 20) {
            try ChildProcess.run("/usr/bin/openssl", ["x509", "-in", own.certificate, "-noout", "-checkend", "0"])
                .status == 1 ? true : nil
        }
        try refusal(of: own, saying: "expired")
    }
}
