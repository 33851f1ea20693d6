import Foundation
import Testing

/// Workloads in network namespaces of their own, behind Envoys that the kernel leads every connection through: what a
/// pod is, without Kubernetes.
final class InterceptedMesh {
    final class Member {
        let name: String
        let address: String
        let envoy: Envoy
        fileprivate let namespace: NetworkNamespace
        private let application: ChildProcess

        fileprivate init(_ workload: MeshOfEnvoys.Workload, in mesh: InterceptedMesh, number: Int) throws {
            name = workload.name
            address = "\(mesh.network).\(number)"
            namespace = try NetworkNamespace("mt\(mesh.block)n\(number)", address: address, of: mesh.bridge)
            let adminPort = try freePort()
            try namespace.intercept(sparing: adminPort, byCommand: DataPlaneChoice.current.isMartinet(number))
            let arguments = try #require(workload.application)
            // Any address: the mesh goes by the Host header, and the connection is led to Envoy before it leaves.
            let calling = workload.isCalling ? ["--through", "10.96.0.10"] : []
            let command =
                namespace.command + [Installation.bookinfo] + arguments + ["--listen", "0.0.0.0:9080"] + calling
            let directory = mesh.control.directory
            application = try ChildProcess(command[0], Array(command.dropFirst()), in: directory)
            let labels = workload.labels.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
            envoy = try Envoy(
                nodeID: "sidecar~\(address)~\(name).default~default.svc.cluster.local", cluster: "\(name).default",
                xdsPort: mesh.port,
                credentials: Envoy.Credentials(
                    trusted: mesh.control.rootCertificate,
                    token: try mesh.control.token(
                        namespace: "default", serviceAccount: workload.serviceAccount, "--uses", "0")),
                workload: Envoy.Workload(
                    namespace: "default", serviceAccount: workload.serviceAccount,
                    more: "LABELS: { \(labels.joined(separator: ", ")) }, WORKLOAD_NAME: \(name), "
                        + "INTERCEPTION_MODE: REDIRECT, INSTANCE_IPS: \"\(address)\""),
                at: Envoy.Place(
                    command: namespace.command + [
                        "/usr/bin/setpriv", "--regid", "\(NetworkNamespace.proxyGroup)", "--clear-groups",
                    ], adminAddress: address, controlAddress: "\(mesh.network).254",
                    flags: Envoy.Place.drainingAtOnce),
                adminPort: adminPort, program: DataPlaneChoice.current.isMartinet(number) ? .martinet([]) : .envoy,
                in: directory)
        }

        fileprivate func stop() {
            envoy.process.stop()
            application.stop()
        }

        /// Who answers calls that its application would make, by version or by code.
        func tally(_ count: Int, _ url: String, host: String, headers: [String] = []) throws -> [String: Int] {
            let command =
                namespace.command + [
                    "/usr/bin/curl", "-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code} %header{x-version}\n",
                    "-H", "host: \(host)",
                ] + headers.flatMap { ["-H", $0] } + ["\(url)?[1-\(count)]"]
            let output = try ChildProcess.run(command[0], Array(command.dropFirst()), timeout: 90).output
            return Dictionary(
                output.split(separator: "\n").map { line in
                    let words = line.split(separator: " ")
                    return (String(words.first == "200" ? words.last ?? "200" : words.first ?? ""), 1)
                }, uniquingKeysWith: +)
        }
    }

    private(set) var control: ControlPlaneProcess!
    private(set) var members: [Member] = []
    fileprivate let block = Int.random(in: 1...250)
    fileprivate let port: Int
    fileprivate let bridge: Bridge

    fileprivate var network: String { "10.77.\(block)" }

    /// Whether this process may make network namespaces and lead connections about.
    static let isPossible: Bool = {
        guard geteuid() == 0, FileManager.default.isExecutableFile(atPath: "/usr/sbin/iptables") else { return false }
        guard let probe = try? NetworkNamespace("mtprobe\(getpid())", address: nil, of: nil) else { return false }
        return (try? probe.intercept(sparing: 1)) != nil
    }()

    init(_ workloads: [MeshOfEnvoys.Workload]) throws {
        port = try freePort()
        bridge = try Bridge("mt\(block)br", address: "10.77.\(block).254")
        control = try ControlPlaneProcess(["--xds-tls", "10.77.\(block).254:\(port)"])
        for (number, workload) in workloads.enumerated() {
            members.append(try Member(workload, in: self, number: number + 1))
        }
        for member in members { try member.envoy.waitUntilReady() }
    }

    deinit { for member in members { member.stop() } }

    subscript(name: String) -> Member {
        get throws { try #require(members.first { $0.name == name }, "no workload \(name)") }
    }
}

/// What namespaces are plugged into.
private final class Bridge {
    let name: String
    let gateway: String

    init(_ name: String, address: String) throws {
        (self.name, gateway) = (name, address)
        try run("/usr/sbin/ip", "link", "add", name, "type", "bridge")
        try run("/usr/sbin/ip", "address", "add", "\(address)/24", "dev", name)
        try run("/usr/sbin/ip", "link", "set", name, "up")
    }

    deinit { try? run("/usr/sbin/ip", "link", "delete", name) }
}

/// A network stack of its own, plugged into a bridge.
private final class NetworkNamespace {
    /// The group that Envoy runs in, whose connections are not led back to it.
    static let proxyGroup = 1337

    let name: String
    let command: [String]

    /// - Parameter address: nil for one that is alone.
    init(_ name: String, address: String?, of bridge: Bridge?) throws {
        self.name = name
        command = ["/usr/sbin/ip", "netns", "exec", name]
        try run("/usr/sbin/ip", "netns", "add", name)
        try inside("/usr/sbin/ip", "link", "set", "lo", "up")
        guard let address, let bridge else { return }
        try run(
            "/usr/sbin/ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        try run("/usr/sbin/ip", "link", "set", name, "master", bridge.name, "up")
        try inside("/usr/sbin/ip", "address", "add", "\(address)/24", "dev", "eth0")
        try inside("/usr/sbin/ip", "link", "set", "eth0", "up")
        try inside("/usr/sbin/ip", "route", "add", "default", "via", bridge.gateway)
    }

    deinit { try? run("/usr/sbin/ip", "netns", "delete", name) }

    /// Leads what comes in to port 15006 and what the application sends out to port 15001, as Istio's init container.
    /// - Parameter byCommand: by `martinet intercept`.
    func intercept(sparing adminPort: Int, byCommand: Bool = false) throws {
        if byCommand {
            return try inside(
                Installation.martinet, "intercept", "add", "--proxy-group", "\(Self.proxyGroup)",
                "--exclude-inbound-port", "\(adminPort)")
        }
        for rule in [
            "PREROUTING -p tcp --dport \(adminPort) -j RETURN",
            "PREROUTING -p tcp -j REDIRECT --to-ports 15006",
            "OUTPUT -p tcp -m owner --gid-owner \(Self.proxyGroup) -j RETURN",
            "OUTPUT -p tcp -d 127.0.0.1/32 -j RETURN",
            "OUTPUT -p tcp -j REDIRECT --to-ports 15001",
        ] {
            try inside(["/usr/sbin/iptables", "-w", "-t", "nat", "-A"] + rule.split(separator: " ").map(String.init))
        }
    }

    private func inside(_ words: String...) throws { try inside(words) }

    private func inside(_ words: [String]) throws { try run(command + words) }
}

private func run(_ words: String...) throws { try run(words) }

private func run(_ words: [String]) throws {
    let (status, output, errors) = try ChildProcess.run(words[0], Array(words.dropFirst()))
    guard status == 0 else { throw WaitedInVain(what: "\(words.joined(separator: " ")): \(output)\(errors)") }
}
