import Addresses
import Foundation
import Testing

/// A control plane, and workloads that each have an application of their own and a real Envoy beside it, or
/// `martinet proxy` where ``DataPlaneChoice`` says so, without interception: each workload has three loopback addresses. On the first its Envoy takes the calls of others, on the
/// second its application listens, on the third its Envoy takes what the application calls.
final class MeshOfEnvoys {
    struct Workload {
        /// Of the Deployment: `reviews-v1`.
        var name: String
        var namespace = "default"
        var serviceAccount: String
        var labels: [String: String]
        /// Arguments of the demo application but for where it listens and calls; nil for a gateway.
        var application: [String]?
        /// Where the application listens.
        var ports = [9080]
        /// Whether the application calls others, and so is told where its sidecar takes that.
        var isCalling = false
    }

    /// A running workload.
    final class Member {
        let workload: Workload
        /// Where its Envoy takes the calls of others.
        let address: String
        /// Where its application listens.
        let applicationAddress: String
        /// Where its Envoy takes the calls of its application.
        let outboundAddress: String
        fileprivate(set) var envoy: Envoy?
        fileprivate(set) var application: ChildProcess?

        fileprivate init(_ workload: Workload, block: Int, number: Int) {
            self.workload = workload
            address = "127.1.\(block).\(number)"
            applicationAddress = "127.2.\(block).\(number)"
            outboundAddress = "127.3.\(block).\(number)"
        }

        /// Its node in Istio's form.
        var nodeID: String {
            let kind = workload.application == nil ? "router" : "sidecar"
            return "\(kind)~\(address)~\(workload.name).\(workload.namespace)~\(workload.namespace).svc.cluster.local"
        }

        fileprivate var metadata: String {
            let labels = workload.labels.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \"\($0.value)\"" }
            return "LABELS: { \(labels.joined(separator: ", ")) }, WORKLOAD_NAME: \(workload.name), "
                + "INTERCEPTION_MODE: NONE, INSTANCE_IPS: \"\(address)\", CLUSTER_ID: Kubernetes, MARTINET: { "
                + "OUTBOUND_ADDRESS: \"\(outboundAddress)\", APP_ADDRESS: \"\(applicationAddress)\" }"
        }

        /// A call that its application would make.
        func call(_ host: String, _ path: String, headers: [String: String] = [:], timeout: Int = 15)
            -> HTTPConnection.Call
        {
            let port = Int(host.split(separator: ":").last ?? "") ?? 80
            return HTTPConnection.Call(
                address: outboundAddress, port: port, host: host, path: path, headers: headers, timeout: timeout)
        }

        /// An order to the application itself, past every proxy: `/admin/fail?rate=1`.
        @discardableResult
        func administer(_ path: String, method: String = "POST") throws -> String {
            let answer = try HTTPConnection.exchange(
                HTTPConnection.Call(
                    address: applicationAddress, port: workload.ports[0], host: "admin", path: path, method: method))
            try #require(answer.code == 200, "\(path): \(answer.code) \(answer.body)")
            return answer.body
        }

        /// How many requests the application has answered.
        func requests() throws -> Int {
            struct Count: Decodable { var requests: Int }
            let text = try administer("/admin/requests", method: "GET")
            return try JSONDecoder().decode(Count.self, from: Data(text.utf8)).requests
        }
    }

    let control: ControlPlaneProcess
    private(set) var members: [Member] = []
    private let block: AddressBlock
    private var tokens: [String: String] = [:]
    private var started = 0
    private let checksHealth: Bool

    /// - Parameter checksHealth: whether its Envoys check workloads for the control plane.
    init(_ workloads: [Workload], serving extra: [String] = [], checksHealth: Bool = false) throws {
        self.checksHealth = checksHealth
        block = try AddressBlock()
        control = try ControlPlaneProcess(extra)
        for workload in workloads { try add(workload) }
        for member in members { try member.envoy?.waitUntilReady() }
    }

    deinit {
        for member in members {
            member.envoy?.process.stop()
            member.application?.stop()
        }
    }

    subscript(name: String) -> Member {
        get throws { try #require(members.first { $0.workload.name == name }, "no workload \(name)") }
    }

    /// Starts one more workload.
    @discardableResult
    func add(_ workload: Workload) throws -> Member {
        started += 1
        let member = Member(workload, block: block.number, number: started)
        if let arguments = workload.application {
            let listening = workload.ports.flatMap { ["--listen", "\(member.applicationAddress):\($0)"] }
            let calling = workload.isCalling ? ["--through", member.outboundAddress] : []
            member.application = try ChildProcess(
                Installation.bookinfo, arguments + listening + calling, in: control.directory)
        }
        let account = workload.namespace + "/" + workload.serviceAccount
        let token =
            try tokens[account]
            ?? control.token(
                namespace: workload.namespace, serviceAccount: workload.serviceAccount, "--uses", "0")
        tokens[account] = token
        var place = Envoy.Place(flags: Envoy.Place.drainingAtOnce)
        place.checksHealth = checksHealth
        member.envoy = try Envoy(
            nodeID: member.nodeID, cluster: "\(workload.name).\(workload.namespace)", xdsPort: control.tlsPort,
            credentials: Envoy.Credentials(trusted: control.rootCertificate, token: token),
            workload: Envoy.Workload(
                namespace: workload.namespace, serviceAccount: workload.serviceAccount, more: member.metadata),
            at: place,
            program: DataPlaneChoice.current.isMartinet(started) ? .martinet(try flags(of: member, token)) : .envoy,
            in: control.directory)
        members.append(member)
        return member
    }

    /// What `martinet proxy` is told of itself; its key is its own.
    private func flags(of member: Member, _ token: String) throws -> [String] {
        let workload = member.workload
        let tokenFile = control.directory + "/token-\(shortID())"
        try token.write(toFile: tokenFile, atomically: true, encoding: .utf8)
        let labels = workload.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return [
            "--control", "127.0.0.1:\(control.tlsPort)", "--tls-server-name", "localhost", "--root-cert",
            control.rootCertificate, "--token-file", tokenFile, "--namespace", workload.namespace, "--service-account",
            workload.serviceAccount, "--name", workload.name, "--workload", workload.name, "--labels",
            labels.joined(separator: ","), "--address", member.address, "--outbound-address", member.outboundAddress,
            "--app-address", member.applicationAddress, "--service-cluster",
            "\(workload.name).\(workload.namespace)",
        ] + (workload.application == nil ? ["--gateway"] : [])
    }

    /// Ends a workload: its Envoy first, as a mesh that hears of it.
    func remove(_ name: String) throws {
        let member = try self[name]
        member.envoy?.process.stop(SIGTERM)
        member.application?.stop(SIGTERM)
        members.removeAll { $0 === member }
    }

    /// Applies files in one step, and waits until every proxy concerned has them.
    func apply(_ files: String..., sourceLocation: SourceLocation = #_sourceLocation) throws {
        try apply(files, sourceLocation: sourceLocation)
    }

    func apply(_ files: [String], sourceLocation: SourceLocation = #_sourceLocation) throws {
        let (status, output, errors) = try ChildProcess.run(
            Installation.martinet,
            ["apply", "--wait", "--data", control.data] + files.flatMap { ["-f", $0] })
        try #require(status == 0, "\(output)\(errors)", sourceLocation: sourceLocation)
    }

    /// Applies objects that are written in the test.
    func apply(yaml: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let path = control.directory + "/objects-\(shortID()).yaml"
        try yaml.write(toFile: path, atomically: true, encoding: .utf8)
        try apply([path], sourceLocation: sourceLocation)
    }

    /// What helps to see why a test failed.
    var state: String {
        let status = (try? control.command("status").output) ?? ""
        return status + "\n" + control.process.log.suffix(3_000)
    }
}

/// The third numbers of loopback addresses that no other mesh on this machine uses: it listens on one of them.
private final class AddressBlock {
    let number: Int
    private let descriptor: Int32

    init() throws {
        for _ in 0..<1_000 {
            let number = Int.random(in: 1...250)
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var place = sockaddr_in()
            place.sin_family = sa_family_t(AF_INET)
            place.sin_port = in_port_t(7_999).bigEndian
            place.sin_addr.s_addr = inet_addr("127.1.\(number).254")
            let status = withUnsafePointer(to: &place) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if status == 0, listen(descriptor, 1) == 0 {
                self.number = number
                self.descriptor = descriptor
                _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
                return
            }
            close(descriptor)
        }
        throw WaitedInVain(what: "a free block of loopback addresses")
    }

    deinit { close(descriptor) }
}
