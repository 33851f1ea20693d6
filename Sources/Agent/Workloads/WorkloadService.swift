import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Glibc
import Identity
import Logging
import Protobuf
import Synchronization
import Time

/// The SPIFFE Workload API: certificates, bundles and tokens for processes of this machine that a selector admits.
///
/// Streams are told of every change at once; one that cannot be answered yet waits. Safe to use from any thread.
final class WorkloadService: Service {
    /// What a stream is told about.
    enum Subject: CaseIterable {
        case certificate, bundles, tokenKeys
    }

    private struct State {
        var holdings = Holdings()
        /// The last answer to each subject that streams were told.
        var watchers: [Int: (subject: Subject, call: ServiceCall)] = [:]
        var lastWatcher = 0
    }

    private let trustDomain: TrustDomain
    private let callers: CallerPolicy
    private let tokens: TokenDesk
    private let logger: Logger
    private let state = Mutex(State())

    /// Streams that are open at a time; one more is refused.
    static let mostStreams = 1000

    init(trustDomain: TrustDomain, callers: CallerPolicy, tokens: TokenDesk, logger: Logger) {
        self.trustDomain = trustDomain
        self.callers = callers
        self.tokens = tokens
        self.logger = logger
    }

    var methods: [GRPCMethod] {
        [
            GRPCMethod(SpiffeWorkloadAPI.fetchX509SVID, serverStreams: true),
            GRPCMethod(SpiffeWorkloadAPI.fetchX509Bundles, serverStreams: true),
            GRPCMethod(SpiffeWorkloadAPI.fetchJWTBundles, serverStreams: true),
            GRPCMethod(SpiffeWorkloadAPI.fetchJWTSVID), GRPCMethod(SpiffeWorkloadAPI.validateJWTSVID),
        ]
    }

    /// Shows new holdings to every stream that they concern.
    func publish(_ new: Holdings) {
        state.withLock { state in
            let old = state.holdings
            state.holdings = new
            for subject in Subject.allCases {
                // With the lock held, so that no stream hears of two changes in the wrong order.
                guard changes(from: old, to: new, subject), let message = message(new, subject) else { continue }
                for watcher in state.watchers.values where watcher.subject == subject { watcher.call.send(message) }
            }
        }
    }

    private func changes(from old: Holdings, to new: Holdings, _ subject: Subject) -> Bool {
        let bundlesChange = old.anchors != new.anchors || old.federated != new.federated
        return switch subject {
        case .certificate: bundlesChange || old.certificate?.chain != new.certificate?.chain
        case .bundles: bundlesChange
        case .tokenKeys: old.tokenKeys != new.tokenKeys || old.federatedKeys != new.federatedKeys
        }
    }

    private func message(_ holdings: Holdings, _ subject: Subject) -> [UInt8]? {
        switch subject {
        case .certificate: holdings.x509Response()
        case .bundles: holdings.x509BundlesResponse(of: trustDomain)
        case .tokenKeys: holdings.jwtBundlesResponse()
        }
    }

    // MARK: Calls

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        // Before anything else: a request that a web page or another program was talked into carries no such header.
        // Source: SPIFFE Workload Endpoint, 3.
        guard call.request.metadata["workload.spiffe.io"] == "true" else {
            call.finish(GRPCStatus(.invalidArgument, "the metadata `workload.spiffe.io: true` is missing"))
            return RefusedWorkload()
        }
        if let refusal = callers.refusal(of: call.origin) {
            logger.warning(
                "Workload API call refused",
                metadata: ["caller": "\(refusal.caller)", "method": "\(call.request.method.path)"])
            call.finish(refusal.status)
            return RefusedWorkload()
        }
        switch call.request.method.path {
        case SpiffeWorkloadAPI.fetchX509SVID: return Watch(self, call, .certificate)
        case SpiffeWorkloadAPI.fetchX509Bundles: return Watch(self, call, .bundles)
        case SpiffeWorkloadAPI.fetchJWTBundles: return Watch(self, call, .tokenKeys)
        case SpiffeWorkloadAPI.fetchJWTSVID: return UnaryCall(call) { [self] in fetchToken($0, $1) }
        default: return UnaryCall(call) { [self] in validateToken($0, $1) }
        }
    }

    private func fetchToken(_ bytes: [UInt8], _ call: ServiceCall) {
        let arena = Arena()
        let audience: [String]
        let wanted: String
        do throws(ProtobufError) {
            let request = try arena.decode(SpiffeJWTSVIDRequest.self, from: bytes).pointee
            (audience, wanted) = (Array(request.audience_list), request.spiffe_id.string)
        } catch {
            return call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error)"))
        }
        guard !audience.isEmpty, audience.allSatisfy({ !$0.isEmpty }) else {
            return call.finish(GRPCStatus(.invalidArgument, "an audience is missing: name whom the token is for"))
        }
        guard audience.count <= TokenDesk.mostNames, audience.allSatisfy({ $0.utf8.count <= TokenDesk.longestName })
        else {
            return call.finish(
                GRPCStatus(
                    .invalidArgument,
                    "at most \(TokenDesk.mostNames) audiences of \(TokenDesk.longestName) bytes are allowed"))
        }
        guard let own = state.withLock({ $0.holdings.certificate?.spiffeID }) else {
            return call.finish(GRPCStatus(.unavailable, "the agent has no certificate yet; try again"))
        }
        guard wanted.isEmpty || wanted == "\(own)" else {
            return call.finish(GRPCStatus(.permissionDenied, "the identity \(wanted) is not that of this workload"))
        }
        tokens.fetch(audience) { result in
            switch result {
            case .failure(let status): call.finish(status)
            case .success(let token):
                let arena = Arena()
                call.reply(
                    encode(
                        arena.make(SpiffeJWTSVIDResponse.self) {
                            ($0.n_svids, $0.svids) = arena.list(
                                arena.make(SpiffeJWTSVID.self) {
                                    $0.spiffe_id = arena(token.spiffeID)
                                    $0.svid = arena(token.text)
                                })
                        }))
            }
        }
    }

    private func validateToken(_ bytes: [UInt8], _ call: ServiceCall) {
        let arena = Arena()
        do {
            let request = try arena.decode(SpiffeValidateJWTSVIDRequest.self, from: bytes).pointee
            let (audience, token) = (request.audience.string, request.svid.string)
            guard !audience.isEmpty, !token.isEmpty else {
                return call.finish(GRPCStatus(.invalidArgument, "a token and an audience are needed"))
            }
            let keys = state.withLock { $0.holdings.allTokenKeys }
            guard !keys.isEmpty else {
                return call.finish(
                    GRPCStatus(.unavailable, "the agent has no keys to check tokens with yet; try again"))
            }
            let svid = try JWTSVID(
                verifying: token, audience: audience, bundles: keys, now: .systemClock())
            let claims = try arena.decodeJSON(
                ProtobufStruct.self, String(decoding: svid.claims, as: UTF8.self), types: envoyTypes)
            call.reply(
                encode(
                    arena.make(SpiffeValidateJWTSVIDResponse.self) {
                        $0.spiffe_id = arena("\(svid.spiffeID)")
                        $0.claims = claims
                    }))
        } catch let refusal as JWTRefusal {
            call.finish(GRPCStatus(.invalidArgument, "\(refusal); \(refusal.hint)"))
        } catch {
            call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error)"))
        }
    }

    /// The end of a call that was refused.
    private final class RefusedWorkload: ServiceCallHandler {
        func received(_ message: UnsafeRawBufferPointer) {}
        func halfClosed() {}
        func ended() {}
    }

    /// A stream that hears of every change of its subject.
    private final class Watch: ServiceCallHandler {
        private let service: WorkloadService
        private let call: ServiceCall
        private let subject: Subject
        private var number: Int?

        init(_ service: WorkloadService, _ call: ServiceCall, _ subject: Subject) {
            (self.service, self.call, self.subject) = (service, call, subject)
        }

        /// The request has no fields.
        func received(_ message: UnsafeRawBufferPointer) {
            guard number == nil else { return }
            let (service, call, subject) = (service, call, subject)
            number = service.state.withLock { state in
                guard state.watchers.count < WorkloadService.mostStreams else { return nil }
                state.lastWatcher += 1
                state.watchers[state.lastWatcher] = (subject, call)
                if let message = service.message(state.holdings, subject) { call.send(message) }
                return state.lastWatcher
            }
            if number == nil {
                call.finish(
                    GRPCStatus(.resourceExhausted, "\(WorkloadService.mostStreams) streams are open; close some"))
            }
        }

        func halfClosed() {}

        func ended() {
            guard let number else { return }
            service.state.withLock { _ = $0.watchers.removeValue(forKey: number) }
        }
    }
}
