import Discovery
import EnvoyAPI
import GRPC
import Logging
import Protobuf
import XDS

/// `martinet.control.v1.Control`: changes raw resources and shows the state. For the Unix socket, and for
/// operators over mutual TLS.
struct ControlService: Service {
    let thread: ControlThread
    let server: ServerReference
    /// Names of client certificates that may call over mutual TLS.
    let operators: Set<String>
    let logger: Logger

    var methods: [GRPCMethod] {
        [ControlControl.apply, ControlControl.list, ControlControl.status].map { GRPCMethod($0) }
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        if let refusal = Access.control(call.origin, operators: operators) {
            logger.warning("control call refused", metadata: metadata(call))
            return RefusedCall(call, refusal)
        }
        return UnaryCall(call) { bytes, call in
            do throws(ProtobufError) {
                switch call.request.method.path {
                case ControlControl.apply: apply(try ApplyRequest(decoding: bytes), call)
                case ControlControl.list: list(try ListOrder(decoding: bytes), call)
                case ControlControl.status: status(try StatusOrder(decoding: bytes), call)
                default: call.finish(GRPCStatus(.unimplemented, "no method \(call.request.method.path)"))
                }
            } catch {
                call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error); \(error.hint)"))
            }
        }
    }

    private func apply(_ request: ApplyRequest, _ call: ServiceCall) {
        perform(call) { source in
            do throws(ApplyError) {
                let report = ApplyReport(try source.apply(request))
                if !request.isDryRun { log(request, report, call) }
                call.reply(report.encoded())
            } catch {
                logger.warning(
                    "apply refused",
                    metadata: metadata(call).merging(["scope": "\(request.scope)", "reason": "\(error)"]) { $1 })
                call.finish(GRPCStatus(error))
            }
        }
    }

    private func list(_ order: ListOrder, _ call: ServiceCall) {
        let type = ResourceType(typeURL: order.typeURL)
        guard order.typeURL.isEmpty || type != nil else {
            let served = ResourceType.all.map(\.typeURL).joined(separator: ", ")
            call.finish(GRPCStatus(.invalidArgument, "`\(order.typeURL)` is not served; served are \(served)"))
            return
        }
        let scope = order.scope == "*" ? nil : Scope(text: order.scope)
        guard order.scope == "*" || scope != nil else {
            call.finish(GRPCStatus(.invalidArgument, "`\(order.scope)` is no scope; \(Scope.mend)"))
            return
        }
        perform(call) { source in
            let found = source.list(type: type, name: order.name.isEmpty ? nil : order.name, scope: scope)
            call.reply(ListedResource.encode(found.map { ListedResource($0.resource, warnings: $0.warnings) }))
        }
    }

    private func status(_ order: StatusOrder, _ call: ServiceCall) {
        guard let server = server.current else {
            call.finish(GRPCStatus(.unavailable, "the control plane is starting or stopping; try again"))
            return
        }
        perform(call) { source in
            let problems = source.problems.map(\.description)
            thread.report(of: server, to: call) { report in
                let chosen = report.streams.filter { order.nodeID.isEmpty || $0.node.id == order.nodeID }
                let proxies = chosen.prefix(MeshStatus.proxyLimit).map { ProxyStatus($0) }
                var words = problems
                if chosen.count > proxies.count {
                    words.append("\(chosen.count - proxies.count) more streams are connected than are shown")
                }
                if report.silentLoops > 0 {
                    words.append(
                        "\(report.silentLoops) event loops are too busy to say which proxies they have; ask again")
                }
                if let problem = Self.unprovedProblem(chosen) { words.append(problem) }
                call.reply(MeshStatus(proxies: Array(proxies), problems: words).encoded())
            }
        }
    }

    /// Proxies that ask for secrets where nobody gets any.
    private static func unprovedProblem(_ reports: [DiscoveryServer.StreamReport]) -> String? {
        let nodes = reports.filter { report in
            report.node.principal == nil && report.status.types.contains { $0.type == .secret }
        }.map(\.node.id)
        guard let first = nodes.first else { return nil }
        return "\(nodes.count) streams ask for secrets and have proved nothing, so that they get none (\(first)"
            + "\(nodes.count > 1 ? ", …" : "")); connect them to the TLS port with a join token or a client certificate"
    }

    private func perform(_ call: ServiceCall, _ work: @escaping @Sendable (ResourceSource) -> Void) {
        let isTaken = thread.submit(work)
        if !isTaken { call.finish(ControlThread.busy) }
    }

    private func log(_ request: ApplyRequest, _ report: ApplyReport, _ call: ServiceCall) {
        func count(_ kind: ApplyReport.Kind) -> Int { report.changes.count { $0.kind == kind } }
        logger.info(
            "applied",
            metadata: metadata(call).merging([
                "scope": "\(request.scope.isEmpty ? "all" : request.scope)", "added": "\(count(.added))",
                "changed": "\(count(.changed))", "removed": "\(count(.removed))", "unchanged": "\(count(.unchanged))",
                "warnings": "\(report.warnings.count)",
            ]) { $1 })
    }

    private func metadata(_ call: ServiceCall) -> Logger.Metadata {
        var metadata: Logger.Metadata = ["peer": "\(call.origin.peer)", "method": "\(call.request.method.path)"]
        if let user = call.origin.userID { metadata["uid"] = "\(user)" }
        return metadata
    }
}

/// Whose status. Source: martinet.control.v1.StatusRequest.
public struct StatusOrder: Hashable, Sendable {
    /// Empty for every proxy.
    public var nodeID = ""

    public init(nodeID: String = "") { self.nodeID = nodeID }

    init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        nodeID = try arena.decode(ControlStatusRequest.self, from: bytes).pointee.node_id.string
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(arena.make(ControlStatusRequest.self) { $0.node_id = arena(nodeID) })
    }
}

extension GRPCStatus {
    init(_ error: ApplyError) {
        let code: GRPCStatusCode =
            switch error {
            case .invalid: .invalidArgument
            case .refused(.notApplied): .notFound
            case .refused, .dangling, .unpublishable: .failedPrecondition
            case .store: .resourceExhausted
            }
        // The command line makes its hint of the last line.
        self.init(code, "\(error)\n\(error.hint)")
    }
}
