import GRPC
import Logging
import Reactor
import Time
import XDS

/// Who may open streams: requests wait at a stream's gate while that is decided.
extension ServerConnection {
    static let tooMuchWaits = GRPCStatus(
        .resourceExhausted, "too many requests before the stream was admitted; wait for the first response")

    /// Asks who the peer is, and holds its requests until that is known.
    func ask(_ admission: any Admission, about call: DiscoveryCall, _ request: DecodedRequest?, _ loop: Loop) {
        let applicant = Applicant(
            stream: call.token, service: call.service, origin: origin, metadata: call.metadata ?? GRPCMetadata(),
            node: call.node, secretNames: request.flatMap { call.secretNames(in: $0) })
        call.metadata = nil
        call.isKnownToAdmission = true
        call.gate.close(.deciding, until: loop.now.advanced(by: home.configuration.decisionDeadline))
        let (verdicts, connection, id) = (home.verdicts, id, call.id)
        // The machine has the first request already, and no snapshot: what it asks for is prepared before it gets one.
        call.firstNames = request.flatMap { call.namesToPrepare($0) }
        admission.admit(applicant) { verdicts.add(.decided($0), connection: connection, call: id) }
    }

    /// Has secrets made that the stream asks for, and holds its requests until they are there.
    func prepare(
        _ names: [String], for call: DiscoveryCall, then request: DecodedRequest?, _ admission: any Admission,
        _ loop: Loop
    ) {
        call.gate.close(.preparing(request), until: loop.now.advanced(by: home.configuration.decisionDeadline))
        let (verdicts, connection, id) = (home.verdicts, id, call.id)
        admission.prepare(names, of: .secret, for: call.token, node: call.node) {
            verdicts.add(.prepared($0), connection: connection, call: id)
        }
    }

    /// Takes what was decided about a stream. Too late for one that has ended.
    func take(_ outcome: StreamVerdicts.Outcome, for id: GRPCCallID, loop: Loop) {
        guard let call = discoveryCalls.first(where: { $0.id == id }) else { return }
        switch (outcome, call.gate.state) {
        case (.decided(.admitted(let principal, let end)), .deciding):
            call.node.principal = principal
            call.provedUntil = end
            if let names = call.firstNames, let admission = home.configuration.admission {
                prepare(names, for: call, then: nil, admission, loop)
            } else {
                letIn(call, loop)
            }
            call.firstNames = nil
        case (.decided(.refused(let refusal)), .deciding): refuse(call, refusal, loop)
        case (.prepared(let status?), .preparing):
            home.metrics.admissionRefused("secret")
            fail(call, status, loop)
        case (.prepared(nil), .preparing(let request)):
            guard let request else {
                letIn(call, loop)
                break
            }
            call.gate.open()
            receive(request, on: call, loop)
            takeWaiting(call, loop)
        case (.decided, _), (.prepared, _): break
        }
        flush(loop)
    }

    private func letIn(_ call: DiscoveryCall, _ loop: Loop) {
        call.gate.open()
        join(call, loop)
        takeWaiting(call, loop)
    }

    private func takeWaiting(_ call: DiscoveryCall, _ loop: Loop) {
        while let message = call.gate.next() {
            message.withUnsafeBytes { receive($0, on: call, loop) }
        }
    }

    private func refuse(_ call: DiscoveryCall, _ refusal: StreamRefusal, _ loop: Loop) {
        home.metrics.admissionRefused(refusal.reason)
        logRefusal(
            .warning, "proxy refused",
            ["node": "\(call.node.id)", "reason": "\(refusal.reason)", "detail": "\(refusal.status)"], loop)
        guard refusal.delay > .zero, home.delayedRefusals < home.configuration.delayedRefusalsPerLoop else {
            return finish(call, refusal.status)
        }
        home.delayedRefusals += 1
        call.gate.close(.refusing(refusal.status), until: loop.now.advanced(by: refusal.delay))
    }

    /// What the peer has proved itself by is past.
    func endProof(of call: DiscoveryCall) {
        home.metrics.streamsExpired.increment()
        log(.info, "stream ended: the client certificate that opened it has expired", call, [:])
        finish(
            call,
            GRPCStatus(
                .unauthenticated,
                "the client certificate that opened this stream has expired; connect again with a newer one"))
    }

    /// What was waited for did not come in time, or the time of a refusal has come.
    func stopWaiting(_ call: DiscoveryCall) {
        switch call.gate.state {
        case .open, .closed: break
        case .refusing(let status): finish(call, status)
        case .deciding, .preparing:
            home.metrics.admissionRefused("deadline")
            finish(call, GRPCStatus(.unavailable, "who this proxy is could not be decided in time; connect again"))
        }
    }
}
