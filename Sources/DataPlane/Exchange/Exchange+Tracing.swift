import Forwarding
import HTTP
import Time

/// What an exchange has to do with traces.
struct RequestTrace {
    var reason = TraceReason.notTraced
    /// Its own place; nil: no spans are made of it, or what came with the request cannot be read.
    var context: TraceContext?
    /// What the other side calls the operation.
    var operation: [UInt8]?
    /// Of the try under way, where that is a span of its own and is kept.
    var ofTry: TryTrace?
}

/// What is known of a try for its span.
final class TryTrace {
    let context: TraceContext
    let start: Timestamp
    let number: Int
    /// 0: no response has come.
    private(set) var status = 0
    private(set) var responded: Instant?
    var flags: ResponseFlag = []

    func note(status: Int, now: Instant) { (self.status, responded) = (status, now) }

    init(_ context: TraceContext, start: Timestamp, number: Int) {
        (self.context, self.start, self.number) = (context, start, number)
    }
}

extension Exchange {
    /// Decides whether the request is traced, and finds its place in its trace: once it has a route, before filters.
    /// Source: Envoy, `ConnectionManagerImpl::ActiveStream::traceRequest`.
    func beginTrace(_ tracing: TracingSettings) {
        let sampling = route?.tracing?.sampling ?? tracing.sampling
        trace.reason = sampling.decide(&head, service.settings.requestID, random: &worker.random)
        service.counters.traces.note(trace.reason)
        // Where no span is made nobody has to hear how operations are called.
        guard let provider = tracing.provider else { return }
        trace.context = provider.begin(
            head, isTraced: trace.reason.isTraced, tracing.kind, random: &worker.random)
        if tracing.isOutbound {
            if let route, route.tellsOperation, !route.operation.isEmpty {
                route.operation.withUnsafeBytes { head.set("x-envoy-decorator-operation", value: $0) }
            }
        } else {
            takeOperation(from: &head)
        }
    }

    /// The other side's name for the operation counts more than ours, and goes no further.
    private func takeOperation(from head: inout HeaderList) {
        guard let name = head.withValue(of: "x-envoy-decorator-operation", { Array($0) }) else { return }
        if !name.isEmpty { trace.operation = name }
        head.remove("x-envoy-decorator-operation")
    }

    /// The response tells the caller's proxy how the operation is called here.
    func nameOperation(in response: inout HeaderList) {
        if service.settings.tracing?.isOutbound == true {
            takeOperation(from: &response)
        } else if trace.operation == nil, let route, route.tellsOperation, !route.operation.isEmpty {
            route.operation.withUnsafeBytes { response.set("x-envoy-decorator-operation", value: $0) }
        }
    }

    /// Writes a place in a trace into what goes upstream.
    func tell(_ context: TraceContext) {
        guard let propagation = service.settings.tracing?.provider?.propagation else { return }
        context.write(propagation, to: &outgoing)
    }

    // MARK: Tries

    /// A try has a place of its own under the request's.
    func beginTryTrace() {
        guard let context = trace.context?.child(&worker.random) else { return }
        tell(context)
        guard context.isSampled else { return }
        trace.ofTry = TryTrace(context, start: record.start + record.began.duration(to: now), number: tries)
    }

    func endTryTrace() {
        guard let ended = trace.ofTry else { return }
        trace.ofTry = nil
        endTrace(of: ended, host, isCancelled: upstream != nil)
    }

    func endTrace(of ended: TryTrace, _ host: UpstreamHost?, isCancelled: Bool) {
        guard let tracing = service.settings.tracing, let spans = service.spans else { return }
        let entry = accessRecord()
        entry.upstream = host?.address
        (entry.status, entry.flags) = (ended.status, ended.flags)
        (entry.responseBegan, entry.responseEnded) = (ended.responded, record.responseEnded)
        spans.append(
            tracing.span(
                ofTry: ended.number, entry, ended.context, start: ended.start, route: route,
                isCancelled: isCancelled))
    }

    // MARK: The end

    /// The request's span goes to who keeps it.
    func endTrace(_ entry: AccessRecord) {
        guard let context = trace.context, let tracing = service.settings.tracing, let spans = service.spans else {
            return
        }
        spans.append(
            tracing.span(
                of: entry, context, route: route, operation: trace.operation, node: worker.spans.node))
    }
}
