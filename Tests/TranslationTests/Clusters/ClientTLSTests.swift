import Foundation
import Mesh
import Testing
import XDS

@testable import Translation

struct ClientTLSTests {
    private let workloads = """
        ---
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: reviews, namespace: default}
        spec:
          selector: {matchLabels: {app: reviews}}
          template:
            metadata: {labels: {app: reviews}}
            spec: {serviceAccountName: readers, containers: [{name: r, image: r}]}

        """

    private func reviews(_ policy: String) throws -> Tree {
        try ClusterRig(ClusterRig.reviews + workloads + ClusterRig.rule(policy)).cluster(ClusterRig.reviewsCluster)
    }

    @Test func byItselfTheMeshSpeaksMutualTLSToWhoIsKnownToTakeIt() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews + workloads,
            connected: [ClusterRig.workload("a", "10.0.0.1", labels: ["app": "reviews"], account: "others")])
        let cluster = try rig.cluster(ClusterRig.reviewsCluster)
        let matches = cluster["transport_socket_matches"]
        #expect(matches[0]["match"]["tlsMode"].text == "istio")
        let context = matches[0]["transport_socket"]["typed_config"]
        #expect(context["sni"].text == "outbound_.9080_._.reviews.default.svc.cluster.local")
        let common = context["common_tls_context"]
        #expect(common["alpn_protocols"].list.compactMap(\.text) == ["istio"])
        #expect(common["tls_certificate_sds_secret_configs"][0]["name"].text == "default")
        let combined = common["combined_validation_context"]
        #expect(combined["validation_context_sds_secret_config"]["name"].text == "ROOTCA")
        let names = combined["default_validation_context"]["match_typed_subject_alt_names"].list
        #expect(
            names.map { $0["matcher"]["exact"].text } == [
                "spiffe://cluster.local/ns/default/sa/others", "spiffe://cluster.local/ns/default/sa/readers",
            ])
        #expect(names.allSatisfy { $0["san_type"].text == "URI" })
        #expect(matches[1]["transport_socket"]["name"].text == "envoy.transport_sockets.raw_buffer")
    }

    @Test func aRuleMaySwitchItOffOrOnForAll() throws {
        let off = try reviews("trafficPolicy: {tls: {mode: DISABLE}}")
        #expect(!off["transport_socket_matches"].isThere && !off["transport_socket"].isThere)
        let on = try reviews("trafficPolicy: {tls: {mode: ISTIO_MUTUAL, sni: a.b, subjectAltNames: ['spiffe://x/y']}}")
        #expect(on["transport_socket"]["typed_config"]["sni"].text == "a.b")
        #expect(!on["transport_socket_matches"].isThere)
    }

    @Test func proxyProtocolGoesAroundWhateverIsSpoken() throws {
        let cluster = try reviews("trafficPolicy: {proxyProtocol: {version: V2}}")
        let sockets = cluster["transport_socket_matches"].list.map { $0["transport_socket"] }
        #expect(sockets.allSatisfy { $0["name"].text == "envoy.transport_sockets.upstream_proxy_protocol" })
        #expect(sockets[0]["typed_config"]["config"]["version"].text == "V2")
        #expect(sockets[0]["typed_config"]["transport_socket"]["name"].text == "envoy.transport_sockets.tls")
        let plain = try reviews("trafficPolicy: {tls: {mode: DISABLE}, proxyProtocol: {version: V1}}")
        #expect(plain["transport_socket"]["name"].text == "envoy.transport_sockets.upstream_proxy_protocol")
    }

    private func external(_ port: String, _ tls: String) throws -> Tree {
        try ClusterRig(
            """
            apiVersion: networking.istio.io/v1
            kind: ServiceEntry
            metadata: {name: api, namespace: default}
            spec: {hosts: [api.example.com], ports: [\(port)], resolution: DNS}

            """ + ClusterRig.rule("trafficPolicy: {tls: \(tls)}", host: "api.example.com")
        ).cluster("outbound|80||api.example.com")
    }

    @Test func aServerOutsideIsCheckedByTheRequestsNameOrByItsOwn() throws {
        let web = try external("{number: 80, name: http, protocol: HTTP, targetPort: 443}", "{mode: SIMPLE}")
        let options = web["typed_extension_protocol_options"][
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]["upstream_http_protocol_options"]
        #expect(options["auto_sni"].bool == true && options["auto_san_validation"].bool == true)
        let roots = web["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]["trusted_ca"]
        #expect(roots["filename"].text == "/etc/ssl/certs/ca-certificates.crt")
        #expect(
            web["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"][
                "port_value"
            ].number == 443)
        let stream = try external("{number: 80, name: tcp, protocol: TCP}", "{mode: SIMPLE}")
        let context = stream["transport_socket"]["typed_config"]
        #expect(context["sni"].text == "api.example.com")
        let names = context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
        #expect(names[0]["matcher"]["exact"].text == "api.example.com" && names[0]["san_type"].text == "DNS")
    }

    @Test func whoSkipsVerificationChecksNothing() throws {
        let cluster = try external(
            "{number: 80, name: http, protocol: HTTP}", "{mode: SIMPLE, insecureSkipVerify: true, sni: x.y}")
        let validation = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
        #expect(!validation["trusted_ca"].isThere && !validation["match_typed_subject_alt_names"].isThere)
    }

    @Test func certificatesAreFilesOrSecrets() throws {
        let pair = try Pair()
        defer { pair.remove() }
        let files = try external(
            "{number: 80, name: http2, protocol: HTTP2}",
            "{mode: MUTUAL, clientCertificate: \(pair.certificate), privateKey: \(pair.key), "
                + "caCertificates: \(pair.certificate), subjectAltNames: [a.example.com], sni: b.example.com}")
        let common = files["transport_socket"]["typed_config"]["common_tls_context"]
        #expect(common["tls_certificates"][0]["certificate_chain"]["filename"].text == pair.certificate)
        #expect(common["validation_context"]["trusted_ca"]["filename"].text == pair.certificate)
        #expect(common["alpn_protocols"].list.compactMap(\.text) == ["h2"])
        let secrets = try external(
            "{number: 80, name: http, protocol: HTTP}", "{mode: MUTUAL, credentialName: client}")
        let named = secrets["transport_socket"]["typed_config"]["common_tls_context"]
        #expect(named["tls_certificate_sds_secret_configs"][0]["name"].text == "kubernetes://client")
        #expect(
            named["combined_validation_context"]["validation_context_sds_secret_config"]["name"].text
                == "kubernetes://client-cacert")
    }

    @Test func aBackendPolicyWithoutItsRootsTrustsNobody() throws {
        let pair = try Pair()
        defer { pair.remove() }
        let policy = """
            ---
            apiVersion: gateway.networking.k8s.io/v1
            kind: BackendTLSPolicy
            metadata: {name: p, namespace: default}
            spec:
              targetRefs: [{group: "", kind: Service, name: reviews, sectionName: http}]
              validation:
                hostname: reviews.example.com
                caCertificateRefs: [{group: "", kind: Secret, name: roots}]

            """
        let pem = try String(contentsOfFile: pair.certificate, encoding: .utf8)
            .split(separator: "\n").map { "    " + $0 }.joined(separator: "\n")
        let secret = """
            ---
            apiVersion: v1
            kind: Secret
            metadata: {name: roots, namespace: default}
            stringData:
              ca.crt: |
            \(pem)

            """
        func context(_ text: String) throws -> Tree {
            try ClusterRig(text).cluster(ClusterRig.reviewsCluster)["transport_socket"]["typed_config"]
        }
        let there = try context(ClusterRig.reviews + policy + secret)
        #expect(there["sni"].text == "reviews.example.com")
        #expect(there["common_tls_context"]["validation_context"]["trusted_ca"]["inline_bytes"].isThere)
        let missing = try context(ClusterRig.reviews + policy)
        #expect(missing["common_tls_context"]["validation_context"]["verify_certificate_hash"].count == 1)
    }

    @Test func aServersSideTakesTheTrustDomainsThatAreFederated() throws {
        let rig = try ClusterRig(ClusterRig.reviews)
        var settings = rig.translator.settings
        settings.federatedDomains = ["partner.org"]
        let translator = Translator(rig.translator.mesh, settings: settings)
        let context = translator.downstreamTLSContext(alpn: ["h2", "http/1.1"])
        let names = context.pointee.common_tls_context.pointee.combined_validation_context.pointee
            .default_validation_context.pointee
        #expect(names.n_match_typed_subject_alt_names == 2)
        #expect(context.pointee.require_client_certificate != nil)
    }

    @Test func aProgramWithoutAProxySpeaksMutualTLSWhereEveryServerAsksForIt() throws {
        let strict = """
            ---
            apiVersion: security.istio.io/v1
            kind: PeerAuthentication
            metadata: {name: all, namespace: default}
            spec: {mtls: {mode: STRICT}}
            """
        let connected = [ClusterRig.workload("a", "10.0.0.1", labels: ["app": "reviews"])]
        let scope = OutboundScope(namespace: "default", kind: .proxyless)
        let name = ClusterRig.reviewsCluster
        let asked = try #require(
            try ClusterRig(ClusterRig.reviews + strict, connected: connected).clusters("reviews", scope)
                .first { $0.name == name }
        ).tree
        #expect(asked["lb_policy"].text ?? "ROUND_ROBIN" == "ROUND_ROBIN")
        let common = asked["transport_socket"]["typed_config"]["common_tls_context"]
        #expect(common["tls_certificate_provider_instance"]["instance_name"].text == "default")
        let open = try #require(
            try ClusterRig(ClusterRig.reviews, connected: connected).clusters("reviews", scope).first
        ).tree
        #expect(!open["transport_socket"].isThere && !open["transport_socket_matches"].isThere)
    }

    /// A certificate that signs itself, and its key, as files.
    private struct Pair {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("pair-\(UUID().uuidString)").path
        var certificate: String { directory + "/cert.pem" }
        var key: String { directory + "/key.pem" }

        init() throws {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
            process.arguments = [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=test", "-keyout", key, "-out", certificate,
            ]
            process.standardError = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            try #require(process.terminationStatus == 0)
        }

        func remove() { try? FileManager.default.removeItem(atPath: directory) }
    }
}
