import Addresses
import Forwarding
import HTTP
import HTTP1
import Reactor

/// How far a request has come in the chain of filters, and what they have left to do.
struct FilterProgress {
    /// Waiting for the body, or as much as fits.
    struct BodyWait {
        var limit: Int
        /// The first bytes of a longer one are enough; otherwise it is answered with 413.
        var takesPart: Bool
        var resume: (Exchange) -> Void
    }

    var list: [HTTPFilter?] = []
    var next = 0
    var bodyWait: BodyWait?
    var call: WorkerCall?
    /// What comes after the delay of a fault.
    var abort: Fault.Abort?
    /// The request is under these.
    var faults: [Fault] = []
    var grpcWeb: GRPCWebTranslation?
    /// Those that change trailers, in the order in which they came.
    var trailerMutations: [[HeaderMutations]] = []
    /// Changes of the response, in the order in which the filters came; they are made in the reverse.
    var onResponse: [(Exchange, inout HeaderList) -> Void] = []
}

extension Exchange {
    private enum Step { case goesOn, waits, ended }

    func runFilters() {
        filters.list = service.filters(of: routing)
        continueFilters()
    }

    /// A filter has changed what the route depends on: those that follow are told what the new one says to them.
    private func routeAgain() {
        route(again: true)
        filters.list = service.filters(of: routing)
    }

    private func continueFilters() {
        while filters.next < filters.list.count {
            let next = filters.list[filters.next]
            filters.next += 1
            guard let filter = next else { continue }
            switch step(filter) {
            case .goesOn: continue
            case .waits, .ended: return
            }
        }
        if stage == .filtering { actOnRoute() }
    }

    private func step(_ filter: HTTPFilter) -> Step {
        switch filter {
        case .accessControl(let control): return control.map(ask) ?? .goesOn
        case .tokens(let tokens, let setting): return ask(tokens, setting)
        case .localRateLimit(let limit): return ask(limit)
        case .fault(let fault): return inject(fault)
        case .crossOrigin(let policy):
            // Envoy tells pages of other origins nothing where a route answers itself.
            guard case .forward = routing else { return .goesOn }
            return policy.map(ask) ?? .goesOn
        case .externalAuthorization(let authorization, let setting): return ask(authorization, setting)
        case .statefulSession(let session): session.map(take)
        case .headerMutation(let mutations):
            changeHead { head in
                for mutation in mutations { mutation.applyToRequest(&head) { accessRecord() } }
            }
            if mutations.contains(where: \.changesTrailers) { filters.trailerMutations.append(mutations) }
            filters.onResponse.append { exchange, response in
                for mutation in mutations {
                    let before = response
                    mutation.applyToResponse(&response) { exchange.accessRecord(with: before) }
                }
            }
        case .bodyLimit(let limit):
            return waitForBody(limit.bytes, takesPart: false) { $0.continueFilters() }
        case .fixedMetadata(let fixed): fixed.apply(to: &metadata)
        case .grpcWeb:
            filters.grpcWeb = GRPCWebTranslation(head)
            filters.grpcWeb?.translateRequest(&head)
        case .grpcStatistics: break
        }
        return .goesOn
    }

    /// Changes the head by something that may ask for the record, which has the head as it was.
    private func changeHead(_ change: (inout HeaderList) -> Void) {
        var changed = head
        change(&changed)
        head = changed
    }

    // MARK: Who may

    private func ask(_ control: AccessControl) -> Step {
        let verdict = control.decide(requestFacts)
        if !verdict.metadata.isEmpty { metadata.merge(AccessControl.httpFilter, verdict.metadata) }
        if let isLogged = verdict.isLogged { metadata.merge(AccessControl.hintFilter, AccessControl.hint(isLogged)) }
        if verdict.isAllowed { return .goesOn }
        service.counters.denied += 1
        reply(403, AccessControl.refusal, verdict.details)
        return .ended
    }

    private func ask(_ tokens: TokenAuthentication, _ setting: TokenSetting?) -> Step {
        let ring = service.keyRing(of: tokens)
        switch ring.decide(requestFacts, setting) {
        case .allowed(let changes):
            if !changes.isEmpty {
                var facts = requestFacts
                changes.apply(to: &facts)
                (head, metadata) = (facts.head, facts.metadata)
                if changes.clearsRoute { routeAgain() }
            }
            return .goesOn
        case .denied(let denial):
            reply(Int(denial.status), denial.body, denial.details) { head in
                if let challenge = denial.challenge { head.append("www-authenticate", challenge) }
            }
            return .ended
        case .waits(let provider):
            filters.next -= 1
            ring.fetch(provider) { [weak self] in
                guard let self, stage == .filtering else { return }
                continueFilters()
            }
            return .waits
        }
    }

    private func ask(_ limit: LocalRateLimit) -> Step {
        let bucket = limit.countsPerConnection ? downstream?.bucket(of: limit) : nil
        switch limit.decide(bucket: bucket, now: now, random: &worker.random) {
        case .passes: return .goesOn
        case .wouldBeLimited:
            changeHead { limit.unenforcedHeaders.apply(to: &$0, isResponse: false) { accessRecord() } }
            return .goesOn
        case .limited:
            service.counters.rateLimited += 1
            reply(
                Int(limit.status), LocalRateLimit.refusal, flag: .rateLimited, LocalRateLimit.refusal,
                grpcStatus: limit.grpcStatus
            ) { head in
                limit.responseHeaders.apply(to: &head, isResponse: true) { self.accessRecord() }
            }
            return .ended
        }
    }

    private func ask(_ policy: CrossOriginPolicy) -> Step {
        switch policy.decide(head, random: &worker.random) {
        case .passes: return .goesOn
        case .allowed(let origin):
            filters.onResponse.append { _, response in policy.apply(to: &response, origin: origin) }
            return .goesOn
        case .answered(let answer):
            reply(200, bytes: [], CrossOriginPolicy.details, by: .filterAlone) { head in
                answer.forEachField { name, value in
                    if name.first != UInt8(ascii: ":") { head.append(name: name, value: value) }
                }
            }
            return .ended
        }
    }

    private func inject(_ fault: Fault) -> Step {
        guard
            let injection = fault.injection(
                for: head, upstream: routedCluster, random: &worker.random), fault.begin()
        else { return .goesOn }
        filters.faults.append(fault)
        guard let delay = injection.delay else { return abort(injection.abort) }
        record.flags.insert(.delayInjected)
        service.counters.delaysInjected += 1
        filters.abort = injection.abort
        set(.fault, after: delay)
        return .waits
    }

    func faultIsOver() {
        guard stage == .filtering, case .goesOn = abort(filters.abort) else { return }
        continueFilters()
    }

    private func abort(_ abort: Fault.Abort?) -> Step {
        if abort != nil { service.counters.abortsInjected += 1 }
        switch abort {
        case nil: return .goesOn
        case .http(let status):
            reply(Int(status), Fault.abortBody, flag: .faultInjected, Fault.abortDetails)
        case .grpc(let code):
            reply(
                HostOutcome.status(ofGRPC: code), Fault.abortBody, flag: .faultInjected, Fault.abortDetails,
                grpcStatus: code)
        }
        return .ended
    }

    private var routedCluster: String? {
        if case .forward(_, let forward) = routing { forward.cluster } else { nil }
    }

    // MARK: Another server is asked

    private func ask(_ authorization: ExternalAuthorization, _ setting: AuthorizationSetting?) -> Step {
        switch authorization.begin(requestFacts, route: setting, random: &worker.random) {
        case .passes: return .goesOn
        case .denied(let denial):
            refuse(denial)
            return .ended
        case .asks(nil): send(authorization, setting, body: nil)
        case .asks(let rule?):
            let step = waitForBody(rule.mostBytes, takesPart: rule.takesPart) { exchange in
                exchange.send(authorization, setting, body: Array(exchange.held.prefix(rule.mostBytes)))
            }
            guard case .goesOn = step else { return step }
            send(authorization, setting, body: Array(held.prefix(rule.mostBytes)))
        }
        return .waits
    }

    private func send(_ authorization: ExternalAuthorization, _ setting: AuthorizationSetting?, body: [UInt8]?) {
        let request = AuthorizedRequest(
            facts: requestFacts, id: head["x-request-id"] ?? "", protocolName: protocolName, start: record.start)
        let isWhole = requestEnded && held.count <= (body?.count ?? 0)
        let question = authorization.question(request, route: setting, body: body, isWhole: isWhole)
        let bytes = question.isGRPC ? GRPCFrame.framed(question.body) : question.body
        filters.call = WorkerCall.send(
            question.head, body: bytes, to: worker.cluster(question.cluster), within: question.timeout,
            bodyLimit: 1 << 20, worker: worker
        ) { [weak self] outcome in
            guard let self, stage == .filtering else { return }
            filters.call = nil
            act(on: authorization.read(AuthorizationAnswer(outcome, isGRPC: question.isGRPC)), authorization)
        }
    }

    private func act(on verdict: AuthorizationVerdict, _ authorization: ExternalAuthorization) {
        switch verdict {
        case .denied(let denial): refuse(denial)
        case .allowed(let changes):
            changes.apply(to: &head)
            if !changes.metadata.isEmpty { metadata.merge(ExternalAuthorization.filterName, changes.metadata) }
            filters.onResponse.append { _, response in changes.applyToResponse(&response) }
            if authorization.clearsRoute { routeAgain() }
            continueFilters()
        }
    }

    private func refuse(_ denial: AuthorizationDenial) {
        if !denial.metadata.isEmpty { metadata.merge(ExternalAuthorization.filterName, denial.metadata) }
        reply(Int(denial.status), bytes: denial.body, flag: .unauthorized, denial.details) { head in
            denial.headers.forEachField { name, value in
                guard name.first != UInt8(ascii: ":"), !name.equals(("content-length" as StaticString).bytes) else {
                    return
                }
                head.set(name: name, value: value)
            }
        }
    }

    // MARK: Sessions

    private func take(_ session: StatefulSession) {
        guard session.concerns(head) else { return }
        let known = session.host(in: head, now: record.start)
        if let address = known.flatMap({ NetworkAddress(hostAndPort: $0) }) { sticky = (address, session.isStrict) }
        filters.onResponse.append { exchange, response in
            guard let host = exchange.host else { return }
            session.tell(host.address, known: known, in: &response, now: exchange.record.start)
        }
    }

    // MARK: Bodies

    /// Waits until the body is there, or as much as is asked for.
    /// - Returns: `.goesOn` if it is there already; `resume` is not called then.
    private func waitForBody(_ limit: Int, takesPart: Bool, _ resume: @escaping (Exchange) -> Void) -> Step {
        // While an earlier filter waited, any part of it may have come, and been stopped.
        if !takesPart, held.count > limit {
            refuseLongBody()
            return .ended
        }
        if requestEnded || shape.framing == .none || (takesPart && held.count >= limit) { return .goesOn }
        filters.bodyWait = .init(limit: limit, takesPart: takesPart, resume: resume)
        resumeRequest()
        return .waits
    }

    private func refuseLongBody() { reply(413, "Payload Too Large", "request_payload_too_large") }

    /// More of the body has come.
    func filtersGotBody() {
        guard let wait = filters.bodyWait else {
            if held.count >= service.bufferLimit { pauseRequest() }
            return
        }
        guard held.count > wait.limit || (wait.takesPart && held.count == wait.limit) else { return }
        filters.bodyWait = nil
        guard wait.takesPart else { return refuseLongBody() }
        wait.resume(self)
    }

    func filtersGotWholeRequest() {
        guard let wait = filters.bodyWait else { return }
        filters.bodyWait = nil
        wait.resume(self)
    }

    // MARK: The response, and the end

    /// The filters' changes of the response's head, the last filter's first.
    func changeResponse(_ head: inout HeaderList, isLocal: Bool) {
        for change in filters.onResponse.reversed() { change(self, &head) }
        if !isLocal { filters.grpcWeb?.translateResponse(&head) }
    }

    /// What the filters make of the request's trailers.
    func changed(requestTrailers trailers: HeaderList?) -> HeaderList? {
        guard var trailers, !filters.trailerMutations.isEmpty else { return trailers }
        for mutations in filters.trailerMutations {
            for mutation in mutations { mutation.applyToRequestTrailers(&trailers) { accessRecord() } }
        }
        return trailers
    }

    /// What the filters make of the response's trailers, the last filter first.
    func changed(responseTrailers trailers: HeaderList?) -> HeaderList? {
        guard var trailers, !filters.trailerMutations.isEmpty else { return trailers }
        for mutations in filters.trailerMutations.reversed() {
            for mutation in mutations { mutation.applyToResponseTrailers(&trailers) { accessRecord() } }
        }
        return trailers
    }

    func releaseFilters() {
        filters.call?.cancel()
        filters.call = nil
        filters.bodyWait = nil
        filters.onResponse = []
        cancel(.fault)
        for fault in filters.faults { fault.end() }
        filters.faults = []
    }
}

extension AuthorizationAnswer {
    fileprivate init(_ outcome: WorkerCall.Outcome, isGRPC: Bool) {
        guard case .response(let head, let body, let trailers) = outcome else {
            self = .failed
            return
        }
        guard isGRPC else {
            self = .http(head: head, body: body)
            return
        }
        let text = trailers?["grpc-status"] ?? head["grpc-status"]
        guard let status = text.flatMap({ Int($0) }) else {
            self = .failed
            return
        }
        self = .grpc(status: status, message: GRPCFrame.message(body) ?? [])
    }
}

/// One gRPC message in its frame. Source: gRPC over HTTP2, "Length-Prefixed-Message".
enum GRPCFrame {
    static func framed(_ message: [UInt8]) -> [UInt8] {
        [0] + withUnsafeBytes(of: UInt32(clamping: message.count).bigEndian) { Array($0) } + message
    }

    /// Nil for what is no whole uncompressed message.
    static func message(_ bytes: [UInt8]) -> [UInt8]? {
        guard bytes.count >= 5, bytes[0] == 0 else { return nil }
        let count = bytes[1..<5].reduce(0) { $0 << 8 | Int($1) }
        return bytes.count >= 5 + count ? Array(bytes[5..<5 + count]) : nil
    }
}

extension NetworkAddress {
    /// `10.0.0.1:80`, `[::1]:80`.
    init?(hostAndPort text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard let ip = IPAddress(String(host)) else { return nil }
        self = .ip(ip, port: port)
    }
}
