import Discovery
import EnvoyAPI
import GRPC
import Logging
import Protobuf
import Reactor
import Time

/// `martinet.control.v1.Authority`, where the control service is served.
struct AuthorityService: Service {
    let mailbox: Mailbox<NoConnections>
    let authority: OnControlThread<any AuthorityOperations>
    /// Names of client certificates that may call over mutual TLS.
    let operators: Set<String>
    /// Of this machine, UTC.
    var clock: @Sendable () -> Timestamp = { .systemClock() }
    let logger: Logger

    /// Bytes of a request: certificates and a key take a few thousand.
    static let largestRequest = 1 << 20

    var methods: [GRPCMethod] {
        [
            ControlAuthority.status, ControlAuthority.rotate, ControlAuthority.abort, ControlAuthority.signingRequest,
            ControlAuthority.import, ControlAuthority.bundle, ControlAuthority.journal,
        ].map { GRPCMethod($0) }
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        if let refusal = Access.control(call.origin, operators: operators) {
            logger.warning("control call refused", metadata: call.logMetadata)
            return RefusedCall(call, refusal)
        }
        return UnaryCall(call) { bytes, call in
            guard bytes.count <= Self.largestRequest else {
                let words = "a request of \(bytes.count) bytes, and \(Self.largestRequest) are allowed"
                return call.finish(GRPCStatus(.invalidArgument, "\(words)\nsend certificates and a key alone"))
            }
            call.perform(on: mailbox, authority) { authority in
                do {
                    call.reply(try answer(bytes, call, authority))
                } catch let error as ProtobufError {
                    call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error)\n\(error.hint)"))
                } catch let error as AuthorityRefusal {
                    logger.warning(
                        "refused by the authority",
                        metadata: call.logMetadata.merging(["reason": "\(error)"]) { $1 })
                    call.finish(GRPCStatus(error))
                } catch {
                    call.finish(GRPCStatus(.internalError, "\(error)"))
                }
            }
        }
    }

    private func answer(
        _ bytes: [UInt8], _ call: ServiceCall, _ authority: any AuthorityOperations
    ) throws -> [UInt8] {
        let now = clock()
        switch call.request.method.path {
        case ControlAuthority.status: return authority.report(now: now).encoded()
        case ControlAuthority.rotate:
            let order = try RotationOrder(decoding: bytes)
            let rotations = try authority.rotate(order, now: now)
            log("rotation ordered", ["tier": order.root ? "root" : "intermediate"], call)
            return AuthorityReport.Rotation.encode(rotations)
        case ControlAuthority.abort:
            let rotations = try authority.abort(now: now)
            log("rotation aborted", [:], call)
            return AuthorityReport.Rotation.encode(rotations)
        case ControlAuthority.signingRequest:
            let pem = try authority.signingRequest(now: now)
            log("signing request made", [:], call)
            return SigningRequestText.encode(pem)
        case ControlAuthority.import:
            let taken = try authority.take(try AuthorityMaterial(decoding: bytes), now: now)
            log("imported", ["taken": "\(taken.joined(separator: "; "))"], call)
            return AuthorityMaterial.encode(taken: taken)
        case ControlAuthority.bundle: return try authority.bundle(now: now).encoded()
        default: return IssuedEntry.encode(try authority.journal(try JournalOrder(decoding: bytes)))
        }
    }

    private func log(_ words: Logger.Message, _ more: Logger.Metadata, _ call: ServiceCall) {
        logger.notice(words, metadata: call.logMetadata.merging(more) { $1 })
    }
}

extension GRPCStatus {
    init(_ refusal: AuthorityRefusal) {
        let code: GRPCStatusCode =
            switch refusal.kind {
            case .invalid: .invalidArgument
            case .failedPrecondition: .failedPrecondition
            case .storage: .resourceExhausted
            }
        // The command line makes its hint of the last line.
        self.init(code, "\(refusal)\n\(refusal.hint)")
    }
}
