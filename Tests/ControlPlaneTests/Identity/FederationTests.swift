import Certificates
import Foundation
import Glibc
import Identity
import TLS
import Testing
import Time

@testable import ControlPlane
@testable import Store

/// Bundles of other trust domains, from real files and a real HTTPS server.
@Suite(.serialized) struct FederationTests {
    private let other = try! TrustDomain("other.example")

    @Test func aBundleFromAFileReachesProxiesUnderItsDomainAlone() throws {
        let files = try TemporaryDirectory("bundles")
        let foreign = try bundle()
        try files.write("bundle.json", String(decoding: try foreign.json(), as: UTF8.self))
        let source = try FederationSource(parsing: "other.example=\(files["bundle.json"])")
        let rig = try AuthorityRig(change: { $0.federation = [source] })
        #expect(try comesTrue { try rig.report().federatedBundles.first?.x509Authorities == 1 })
        let proxy = try SecretProxy("web", at: rig.address(token: rig.token()))
        defer { proxy.stop() }
        #expect(comesTrue { proxy.hasEverything })
        // Kept apart: the own bundle does not have it.
        #expect(proxy.now.anchors == (try rig.bundle))
        #expect(try rig.onControl { $0.federation.anchors.keys.map(\.name) } == ["other.example"])
        let federated = try SecretProxy(
            "web-2", at: rig.address(token: rig.token()), names: ["spiffe://other.example"])
        defer { federated.stop() }
        #expect(comesTrue { federated.now.federated["spiffe://other.example"] == foreign.x509Authorities })

        // All domains in one context, by domain; and the keys of their tokens.
        let spanning = try SecretProxy(
            "web-3", at: rig.address(token: rig.token()), names: ["ALL", "JWKS/other.example"])
        defer { spanning.stop() }
        #expect(comesTrue { spanning.now.domains["ALL"]?.count == 2 && spanning.now.words.count == 1 })
        #expect(
            spanning.now.domains["ALL"]
                == ["cluster.local": try rig.bundle, "other.example": foreign.x509Authorities])
        #expect(spanning.now.words["JWKS/other.example"]?.contains("jwt-svid") == true)

        // What cannot be read leaves the last good one in force, also over a restart.
        try files.write("bundle.json", "{ nonsense")
        #expect(try comesTrue { try rig.report().federatedBundles.first?.problem.isEmpty == false })
        #expect(try rig.report().federatedBundles.first?.x509Authorities == 1)
        rig.stop()
        let again = try AuthorityRig(data: rig.data, change: { $0.federation = [source] })
        #expect(try again.report().federatedBundles.first?.x509Authorities == 1)
        again.stop()
        // Who is not asked for any more is forgotten.
        let without = try AuthorityRig(data: rig.data)
        #expect(try without.store.federatedBundles().isEmpty)
    }

    @Test func aBundleComesOverHTTPSFromAServerThatIsVouchedFor() throws {
        let files = try TemporaryDirectory("bundles")
        let foreign = try bundle()
        try files.write("bundle.json", String(decoding: try foreign.json(), as: UTF8.self))
        let server = try WebServer(serving: files)
        defer { server.stop() }
        let address = try #require(HTTPSDownload.Address("https://localhost:\(server.port)/bundle.json"))
        #expect(try HTTPSDownload.get(address, trusting: server.anchors) == foreign.json())
        let missing = try #require(HTTPSDownload.Address("https://localhost:\(server.port)/none.json"))
        #expect(throws: HTTPProblem.status(404)) { try HTTPSDownload.get(missing, trusting: server.anchors) }
        #expect(throws: HTTPProblem.tooLarge("body", limit: 10)) {
            try HTTPSDownload.get(address, trusting: server.anchors, largestBody: 10)
        }
        // Somebody else's authority does not vouch for it.
        let strangers = try TrustAnchors(pem: foreign.x509Authorities[0].pem)
        #expect(throws: HTTPProblem.self) { try HTTPSDownload.get(address, trusting: strangers) }
        let closed = try #require(HTTPSDownload.Address("https://localhost:\(try freeTCPPort())/"))
        #expect(throws: HTTPProblem.self) { try HTTPSDownload.get(closed, trusting: server.anchors) }

        let source = try FederationSource(parsing: "other.example=\(address)")
        let rig = try AuthorityRig(change: {
            $0.federation = [source]
            $0.webAnchorsFile = server.anchorsFile
        })
        #expect(try comesTrue { try rig.report().federatedBundles.first?.x509Authorities == 1 })
    }

    @Test func pausesFollowTheHintWithinBounds() throws {
        let web = try FederationSource(parsing: "other.example=https://a.example/b")
        #expect(Federation.pause(web, hint: nil, failures: 0) == .seconds(300))
        #expect(Federation.pause(web, hint: .seconds(1), failures: 0) == .seconds(60))
        #expect(Federation.pause(web, hint: .seconds(1 << 30), failures: 0) == .seconds(86_400))
        #expect(Federation.pause(web, hint: .seconds(3600), failures: 1) == .seconds(60))
        #expect(Federation.pause(web, hint: .seconds(3600), failures: 30) == .seconds(3600))
    }

    @Test func sourcesAreReadStrictly() throws {
        for text in ["", "x", "=file", "a.example=", "a.example=http://b/", "a.example=https://", "UPPER=file"] {
            #expect(throws: StartProblem.self, "\(text)") { try FederationSource(parsing: text) }
        }
        let own = try FederationSource(parsing: "cluster.local=/tmp/x")
        #expect(throws: StartProblem.self) { try AuthorityRig(change: { $0.federation = [own] }) }
    }

    private func bundle() throws -> SPIFFEBundle {
        let key = try PrivateKey.generate(.ecdsaP256)
        let now = Timestamp.systemClock()
        let root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "other root"), trustDomain: other, key: key,
            validity: (now - .seconds(60))..<(now + .seconds(86_400)), serial: try .random())
        return SPIFFEBundle(
            trustDomain: other, x509Authorities: [root],
            jwtAuthorities: [JWTAuthority(keyID: "o1", publicKey: key.publicKey)], sequence: 1,
            refreshHint: .seconds(60))
    }
}

/// Python's HTTP server over TLS, with a certificate made here.
private final class WebServer {
    let port: UInt16
    let anchorsFile: String
    let anchors: TrustAnchors
    private let process = Process()
    private let directory: TemporaryDirectory

    init(serving files: TemporaryDirectory) throws {
        directory = try TemporaryDirectory("web")
        port = try freeTCPPort()
        let (rootKey, key) = (try PrivateKey.generate(.ecdsaP256), try PrivateKey.generate(.ecdsaP256))
        let now = Timestamp.systemClock()
        let validity = (now - .seconds(60))..<(now + .seconds(3600))
        let domain = try TrustDomain("web.example")
        let root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "web root"), trustDomain: domain, key: rootKey,
            validity: validity, serial: try .random())
        let leaf = try Issuer(chain: [root], key: rootKey).issue(
            LeafTemplate(
                spiffeID: try SPIFFEID(domain, namespace: "a", serviceAccount: "b"), dnsNames: ["localhost"],
                validity: validity, serial: try .random()), for: key.publicKey)
        anchorsFile = directory["root.pem"]
        try directory.write("root.pem", String(decoding: root.pem, as: UTF8.self))
        try directory.write("server.pem", String(decoding: leaf.pem + (try key.pem()), as: UTF8.self))
        anchors = try TrustAnchors(file: anchorsFile)
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", "-c",
            """
            import http.server, os, ssl, sys
            os.chdir(sys.argv[1])
            server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), http.server.SimpleHTTPRequestHandler)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(sys.argv[3])
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.serve_forever()
            """, files.path, "\(port)", directory["server.pem"],
        ]
        process.standardError = FileHandle.nullDevice
        try process.run()
        let (anchors, port) = (anchors, port)
        let isUp = comesTrue {
            guard let address = HTTPSDownload.Address("https://localhost:\(port)/") else { return false }
            return (try? HTTPSDownload.get(address, trusting: anchors)) != nil
        }
        #expect(isUp)
    }

    func stop() {
        kill(process.processIdentifier, SIGKILL)
    }
}
