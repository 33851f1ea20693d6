import Discovery
import EnvoyAPI
import GRPC
import Logging
import Protobuf
import Reactor
import Time

/// `martinet.control.v1.JoinTokens`, where the control service is served.
struct JoinTokenService: Service {
    let mailbox: Mailbox<NoConnections>
    let ledger: OnControlThread<JoinTokenLedger>
    /// Names of client certificates that may call over mutual TLS.
    let operators: Set<String>
    /// Of this machine, UTC.
    var clock: @Sendable () -> Timestamp = { .systemClock() }
    let logger: Logger

    var methods: [GRPCMethod] {
        [ControlJoinTokens.create, ControlJoinTokens.list, ControlJoinTokens.revoke].map { GRPCMethod($0) }
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        if let refusal = Access.control(call.origin, operators: operators) {
            logger.warning("control call refused", metadata: call.logMetadata)
            return RefusedCall(call, refusal)
        }
        return UnaryCall(call) { bytes, call in
            call.perform(on: mailbox, ledger) { ledger in
                do {
                    call.reply(try answer(bytes, call, ledger))
                } catch let error as ProtobufError {
                    call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error)\n\(error.hint)"))
                } catch let error as JoinTokenProblem {
                    call.finish(GRPCStatus(error))
                } catch {
                    call.finish(GRPCStatus(.internalError, "\(error)"))
                }
            }
        }
    }

    private func answer(_ bytes: [UInt8], _ call: ServiceCall, _ ledger: JoinTokenLedger) throws -> [UInt8] {
        switch call.request.method.path {
        case ControlJoinTokens.create:
            let (token, entry) = try ledger.create(try JoinTokenOrder(decoding: bytes), now: clock())
            log("join token made", entry, call)
            return CreatedJoinToken(token: token, entry: entry).encoded()
        case ControlJoinTokens.list: return JoinTokenEntry.encode(ledger.entries)
        default:
            let entry = try ledger.revoke(try JoinTokenRevocation(decoding: bytes).id, now: clock())
            log("join token revoked", entry, call)
            return entry.encodedAsRevoked()
        }
    }

    private func log(_ words: Logger.Message, _ entry: JoinTokenEntry, _ call: ServiceCall) {
        logger.info(
            words,
            metadata: call.logMetadata.merging([
                "token": "\(entry.id)", "namespace": "\(entry.namespace)",
                "service_account": "\(entry.serviceAccount)", "uses": "\(entry.uses.map(String.init) ?? "any")",
            ]) { $1 })
    }
}

extension ServiceCall {
    /// Runs work on the control thread; a call that finds no room there is told so.
    func perform<Value>(
        on mailbox: Mailbox<NoConnections>, _ value: OnControlThread<Value>, _ work: @escaping @Sendable (Value) -> Void
    ) {
        if !mailbox.submit({ _ in work(value.value) }) {
            finish(GRPCStatus(.unavailable, "the control plane is stopping, or too many calls wait; try again"))
        }
    }

    /// Who calls what.
    var logMetadata: Logger.Metadata {
        var metadata: Logger.Metadata = ["peer": "\(origin.peer)", "method": "\(request.method.path)"]
        if let user = origin.userID { metadata["uid"] = "\(user)" }
        return metadata
    }
}

extension GRPCStatus {
    init(_ problem: JoinTokenProblem) {
        let code: GRPCStatusCode =
            switch problem {
            case .badName, .badOrder: .invalidArgument
            case .noSuchToken: .notFound
            case .tooMany: .failedPrecondition
            case .storage: .resourceExhausted
            }
        // The command line makes its hint of the last line.
        self.init(code, "\(problem)\n\(problem.hint)")
    }
}
