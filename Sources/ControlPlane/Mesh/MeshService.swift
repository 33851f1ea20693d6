import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Glibc
import Logging
import Mesh
import Protobuf
import Reactor

/// `martinet.control.v1.Mesh`, where the control service is served.
struct MeshService: Service {
    let mailbox: Mailbox<NoConnections>
    let source: OnControlThread<MeshSource>
    /// Names of client certificates that may call over mutual TLS.
    let operators: Set<String>
    let logger: Logger

    var methods: [GRPCMethod] {
        [
            ControlMesh.apply, ControlMesh.diff, ControlMesh.delete, ControlMesh.rollback, ControlMesh.get,
            ControlMesh.history, ControlMesh.show, ControlMesh.progress, ControlMesh.rollout, ControlMesh.explain,
        ].map { GRPCMethod($0) }
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        if let refusal = Access.control(call.origin, operators: operators) {
            logger.warning("control call refused", metadata: call.logMetadata)
            return RefusedCall(call, refusal)
        }
        return UnaryCall(call) { bytes, call in
            call.perform(on: mailbox, source) { source in
                do {
                    guard let answer = try answer(bytes, call, source) else { return }
                    call.reply(answer)
                } catch {
                    let status = GRPCStatus(refusing: error)
                    logger.warning(
                        "mesh call refused", metadata: call.logMetadata.merging(["reason": "\(status)"]) { $1 })
                    call.finish(status)
                }
            }
        }
    }

    /// - Returns: nil for what is answered later.
    private func answer(_ bytes: [UInt8], _ call: ServiceCall, _ source: MeshSource) throws -> [UInt8]? {
        switch call.request.method.path {
        case ControlMesh.apply:
            let request = try MeshRequest(decodingApply: bytes).by(call.origin, operators)
            let (plan, revision) = try source.apply(request)
            return PlanReport(plan, revision: revision).encoded()
        case ControlMesh.diff:
            var request = try MeshRequest(decodingApply: bytes).by(call.origin, operators)
            request.isDryRun = true
            let old = source.state.index
            let (plan, revision) = try source.apply(request)
            let pushes = source.pushPlan?(plan, old) ?? []
            return PlanReport(plan, revision: revision, showsTexts: true, pushes: pushes).encoded()
        case ControlMesh.delete:
            let request = try MeshRequest(decodingDelete: bytes).by(call.origin, operators)
            let (plan, revision) = try source.apply(request)
            return PlanReport(plan, revision: revision).encoded()
        case ControlMesh.rollback:
            let (target, request) = try MeshRequest.rollback(decoding: bytes)
            let (plan, revision) = try source.rollback(to: target, request.by(call.origin, operators))
            return PlanReport(plan, revision: revision).encoded()
        case ControlMesh.get:
            let query = try ObjectQuery(decoding: bytes)
            guard LabelExpression(query.selector) != nil else { throw MeshOrderError.badSelector(query.selector) }
            return try source.objects(query).encoded()
        case ControlMesh.history: return RevisionEntry.encode(try source.history(try HistoryQuery(decoding: bytes)))
        case ControlMesh.show: return try source.detail(of: RevisionQuery(decodingShow: bytes).revision).encoded()
        case ControlMesh.progress:
            let query = try RevisionQuery(decodingProgress: bytes)
            guard let progress = source.progress else { return RevisionReport.encode(nil) }
            progress.progress(of: query.revision) { call.reply(RevisionReport.encode($0)) }
            return nil
        case ControlMesh.rollout:
            let request = try RolloutRequest(decoding: bytes).by(call.origin, operators)
            guard let pacing = source.pacing else { return RolloutReport.encode(nil) }
            if let refusal = pacing.perform(request) { throw refusal }
            return RolloutReport.encode(pacing.report)
        case ControlMesh.explain: return try source.explain(ExplainQuery(decoding: bytes)).encoded()
        default: throw GRPCStatus(.unimplemented, "no method \(call.request.method.path)")
        }
    }
}

extension MeshRequest {
    /// The request with its author: who calls, and the name that they gave.
    fileprivate func by(_ origin: CallOrigin, _ operators: Set<String>) -> MeshRequest {
        var request = self
        let caller = origin.callerName(operators)
        request.author = author.isEmpty || author == caller ? caller : "\(author) (\(caller))"
        return request
    }
}

extension RolloutRequest {
    fileprivate func by(_ origin: CallOrigin, _ operators: Set<String>) -> RolloutRequest {
        var request = self
        let caller = origin.callerName(operators)
        request.author = author.isEmpty || author == caller ? caller : "\(author) (\(caller))"
        return request
    }
}

extension CallOrigin {
    /// The user's name at the other end of a Unix socket, or the name of a client certificate that makes it an operator's.
    fileprivate func callerName(_ operators: Set<String>) -> String {
        if let userID { return Self.userName(userID) ?? "user \(userID)" }
        return Access.names(of: self).first(where: operators.contains) ?? peer
    }

    private static func userName(_ id: UInt32) -> String? {
        var (entry, found) = (passwd(), UnsafeMutablePointer<passwd>?.none)
        var buffer = [CChar](repeating: 0, count: 16_384)
        guard getpwuid_r(id, &entry, &buffer, buffer.count, &found) == 0, found != nil, let name = entry.pw_name else {
            return nil
        }
        return String(cString: name)
    }
}

extension GRPCStatus {
    /// - Parameter error: of the mesh service.
    fileprivate init(refusing error: any Error) {
        switch error {
        case let status as GRPCStatus: self = status
        case let error as MeshRequestError: self.init(error)
        case let error as ProtobufError:
            self.init(.invalidArgument, "malformed request: \(error)\n\(error.hint)")
        case MeshOrderError.unknownKind(let kind):
            self.init(
                .invalidArgument,
                "`\(kind.prefix(100))` is no kind of object\nwrite it as in virtualservice.networking.istio.io")
        case MeshOrderError.badSelector(let selector):
            self.init(
                .invalidArgument,
                "`\(selector.prefix(100))` selects nothing that can be understood\n"
                    + "write labels as in app=reviews,version!=v1")
        case RolloutProblem.noneUnderWay:
            self.init(.failedPrecondition, "no roll-out is under way\n`martinet rollout` shows how the last one ended")
        case RolloutProblem.another(let revision):
            self.init(
                .failedPrecondition,
                "revision \(revision) is being rolled out, and not the one that was named\n"
                    + "look at `martinet rollout`, and name it or none")
        case MeshOrderError.badSteps:
            self.init(
                .invalidArgument,
                "these steps lead nowhere\nwrite shares in percent that grow to 100, as in 5%,25%,100%, at most "
                    + "\(RolloutOrder.stepLimit) of them, and a hold of at most 7 days")
        default: self.init(.internalError, "\(error)")
        }
    }

    init(_ error: MeshRequestError) {
        let code: GRPCStatusCode =
            switch error {
            case .stale, .rollbackRefused, .ownedByDirectory, .tooManyObjects, .rolloutUnderWay, .trialUnderWay:
                .failedPrecondition
            case .refused, .noObjects, .wordsTooLong: .invalidArgument
            case .missing, .noSuchRevision: .notFound
            case .store: .resourceExhausted
            }
        // The command line makes its hint of the last line; a status holds 4 KiB.
        var lines: [Substring] = []
        var left = 3_400
        let all = "\(error)".split(separator: "\n")
        for line in all.prefix(while: {
            left -= $0.utf8.count + 1
            return left > 0
        }) { lines.append(line) }
        // A single line that is longer than that is cut.
        if lines.isEmpty, let first = all.first { lines = [first.prefix(800)] }
        if lines.count < all.count { lines.append("and \(all.count - lines.count) more lines") }
        self.init(code, lines.joined(separator: "\n") + "\n" + error.hint)
    }
}
