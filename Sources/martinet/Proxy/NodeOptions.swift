import Addresses
import Agent
import ArgumentParser
import DataPlane
import Discovery
import Foundation
import GRPC
import Identity
import Reactor
import TLS
import XDS

/// Which control plane a proxy has, and how it proves who it is.
struct ControlOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The control plane. (default: 127.0.0.1:15012 with --root-cert, else 127.0.0.1:15010)",
            valueName: "host:port"))
    var control: String?

    @Option(
        help: ArgumentHelp(
            "PEM file of the roots that the control plane is believed by. Without it: plaintext.", valueName: "file"))
    var rootCert: String?

    @Option(
        help: ArgumentHelp("The name in the control plane's certificate, if it is not the host.", valueName: "name"))
    var tlsServerName: String?

    @Option(help: ArgumentHelp("File with a join token.", valueName: "file"))
    var tokenFile: String?

    @Option(
        help: ArgumentHelp("Wanted life of certificates, such as 1h. (default: the authority's)", valueName: "time"))
    var ttl: String?

    /// The options that are set, as they are written.
    var given: [String] {
        [
            ("--control", control), ("--root-cert", rootCert), ("--tls-server-name", tlsServerName),
            ("--token-file", tokenFile), ("--ttl", ttl),
        ].filter { $0.1 != nil }.map(\.0)
    }

    /// - Throws: for what has no use as it stands.
    func requireUse() throws {
        _ = try ttl.map { try TimeOption.seconds($0, of: "--ttl") }
        guard rootCert == nil else { return }
        if tokenFile != nil {
            throw ValidationError("--token-file has no use without --root-cert: a token is sent over TLS alone")
        }
        for option in given where ["--tls-server-name", "--ttl"].contains(option) {
            throw ValidationError("\(option) has no use without --root-cert: the control plane is reached in plaintext")
        }
    }

    func controlPlane(of node: ProxyNode) throws -> Proxy.ControlPlane {
        let target = control ?? (rootCert == nil ? "127.0.0.1:15010" : "127.0.0.1:15012")
        let address = try ControlTarget.address(target, tls: nil).address
        guard let rootCert else { return .given(ServerAddress(address), name: target) }
        let host = target.prefix(upTo: target.lastIndex(of: ":") ?? target.endIndex)
        let identity: SPIFFEID
        do throws(SPIFFEIDError) {
            identity = try SPIFFEID(node.trustDomain, namespace: node.namespace, serviceAccount: node.serviceAccount)
        } catch {
            throw ValidationError("\(error); \(error.hint)")
        }
        var terms = Enrolment.Terms(
            control: address, serverName: tlsServerName ?? host.trimmingCharacters(in: ["[", "]"]),
            rootCertificateFile: rootCert, tokenFile: tokenFile, spiffeID: identity, nodeID: node.id)
        terms.certificateLife = try ttl.map { try TimeOption.seconds($0, of: "--ttl") }
        return .enrolled(terms)
    }

    /// The server of a bootstrap file.
    static func controlPlane(_ control: Bootstrap.Control) throws -> Proxy.ControlPlane {
        let written =
            control.host.contains(":") ? "[\(control.host)]:\(control.port)" : "\(control.host):\(control.port)"
        var server = try ControlTarget.address(written, tls: nil)
        for (name, value) in control.metadata { server.metadata.append(name, value) }
        do throws(BootstrapError) {
            server.tls = try control.settings()
        } catch {
            throw CommandProblem(error.problem, hint: "correct it in the bootstrap file")
        }
        return .given(server, name: written)
    }
}

/// What a proxy says of itself.
struct NodeOptions: ParsableArguments {
    @Flag(help: "A gateway, not a sidecar.")
    var gateway = false

    @Option(help: ArgumentHelp("The trust domain. (default: $TRUST_DOMAIN, else cluster.local)", valueName: "name"))
    var trustDomain: String?

    @Option(help: ArgumentHelp("The namespace. (default: $POD_NAMESPACE, else default)", valueName: "name"))
    var namespace: String?

    @Option(help: ArgumentHelp("The service account. (default: $SERVICE_ACCOUNT, else default)", valueName: "name"))
    var serviceAccount: String?

    @Option(
        help: ArgumentHelp(
            "The name of this one proxy. (default: $POD_NAME, else --workload and this machine's name)",
            valueName: "name"))
    var name: String?

    @Option(
        help: ArgumentHelp(
            "What it is one of. (default: $ISTIO_META_WORKLOAD_NAME, else the label app, else --name)",
            valueName: "name"))
    var workload: String?

    @Option(help: ArgumentHelp("Labels of the workload; repeatable.", valueName: "key=value,…"))
    var labels: [String] = []

    @Option(
        help: ArgumentHelp(
            "An address that others reach it by; repeatable. (default: $INSTANCE_IP)", valueName: "address"))
    var address: [String] = []

    @Option(
        help: ArgumentHelp(
            "A port of the workload, with its name if services name it, such as http:9080; repeatable.",
            valueName: "port"))
    var port: [String] = []

    @Option(help: ArgumentHelp("How connections come here: none or redirect.", valueName: "mode"))
    var interception: String?

    @Option(
        help: ArgumentHelp(
            "Without interception: where the application's calls are taken. (default: 127.0.0.1)",
            valueName: "address"))
    var outboundAddress: String?

    @Option(help: ArgumentHelp("Where the application listens. (default: 127.0.0.1)", valueName: "address"))
    var appAddress: String?

    @Option(help: ArgumentHelp("Region, zone and sub-zone.", valueName: "region/zone/subzone"))
    var locality: String?

    @Option(help: ArgumentHelp("The cluster of machines that it is in. (default: Kubernetes)", valueName: "name"))
    var cluster: String?

    @Option(
        help: ArgumentHelp(
            "The node's cluster. (default: the label app, else --workload, and the namespace: web.shop)",
            valueName: "name"))
    var serviceCluster: String?

    /// The options that are set, as they are written.
    var given: [String] {
        let texts: [(String, String?)] = [
            ("--trust-domain", trustDomain), ("--namespace", namespace), ("--service-account", serviceAccount),
            ("--name", name), ("--workload", workload), ("--interception", interception),
            ("--outbound-address", outboundAddress), ("--app-address", appAddress), ("--locality", locality),
            ("--cluster", cluster), ("--service-cluster", serviceCluster), ("--labels", labels.first),
            ("--address", address.first), ("--port", port.first),
        ]
        return (gateway ? ["--gateway"] : []) + texts.filter { $0.1 != nil }.map(\.0)
    }

    func node(_ here: Surroundings) throws -> ProxyNode {
        let labels = try here.labels.merging(Self.pairs(self.labels)) { $1 }
        let name = name ?? here.name
        let workload = workload ?? here.workload ?? labels["app"] ?? name ?? "proxy"
        let domain: TrustDomain
        do throws(SPIFFEIDError) {
            domain = try TrustDomain(trustDomain ?? here.trustDomain ?? "cluster.local")
        } catch {
            throw ValidationError("--trust-domain: \(error); \(error.hint)")
        }
        var node = ProxyNode(
            name: name ?? "\(workload)-\(Self.machine)", workload: workload,
            namespace: namespace ?? here.namespace ?? "default",
            serviceAccount: serviceAccount ?? here.serviceAccount ?? "default", trustDomain: domain)
        node.kind = gateway ? .router : .sidecar
        node.labels = labels
        node.addresses = try Self.addresses(address.isEmpty ? here.addresses : address, of: "--address")
        node.ports = try port.map(Self.port)
        node.metadata = here.furtherMetadata
        if node.ports.isEmpty, let ports = here.podPorts { node.metadata["POD_PORTS"] = .string(ports) }
        let mode = (interception ?? here.interception ?? "none").uppercased()
        guard let interception = ProxyNode.Interception(rawValue: mode) else {
            throw ValidationError("--interception \(mode.lowercased()) is neither none nor redirect")
        }
        node.interception = interception
        node.outboundAddress = try outboundAddress.map { try Self.addresses([$0], of: "--outbound-address")[0] }
        node.applicationAddress = try appAddress.map { try Self.addresses([$0], of: "--app-address")[0] }
        if let locality {
            let parts = locality.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            guard parts.count <= 3 else { throw ValidationError("--locality \(locality) has more than three parts") }
            node.locality = Locality(
                region: parts[0], zone: parts.count > 1 ? parts[1] : "", subZone: parts.count > 2 ? parts[2] : "")
        }
        node.serviceCluster = serviceCluster
        node.clusterID = cluster ?? here.clusterID ?? "Kubernetes"
        if interception == .none, node.addresses.isEmpty, !gateway {
            throw ValidationError("without interception a sidecar needs an --address where others reach it")
        }
        return node
    }

    private static var machine: String {
        String(ProcessInfo.processInfo.hostName.prefix { $0 != "." }).lowercased()
    }

    private static func pairs(_ texts: [String]) throws -> [String: String] {
        var pairs: [String: String] = [:]
        for pair in texts.flatMap({ $0.split(separator: ",") }) {
            let words = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard words.count == 2, !words[0].isEmpty else {
                throw ValidationError("--labels \(pair) is no label; write for example app=web,version=v1")
            }
            pairs[String(words[0])] = String(words[1])
        }
        return pairs
    }

    private static func addresses(_ texts: [String], of option: String) throws -> [String] {
        for text in texts where IPAddress(text) == nil { throw ValidationError("\(option) \(text) is no IP address") }
        return texts
    }

    private static func port(_ text: String) throws -> ProxyNode.Port {
        let words = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard words.count <= 2, let number = words.last.flatMap({ UInt16($0) }), number > 0 else {
            throw ValidationError("--port \(text) is no port; write for example 9080 or http:9080")
        }
        return ProxyNode.Port(name: words.count == 2 ? words[0] : nil, number: number)
    }
}
