import Testing
import Time

@testable import XDS

/// Runs a client through a transcript. Lines at the margin are input, indented ones are what the client does; the
/// whole text is compared with what really happened.
///
///     subscribe CDS a *       unsubscribe CDS a       opened [SERVER]      closed [SERVER]: WORDS
///     paused [SERVER]         resumed [SERVER]        wait SECONDS
///     respond [SERVER] CDS VERSION NONCE: RESOURCE …  status CDS           next
///
/// Resources: `web=x` is web with body x; `web@3=x` with its own version; `web@3=x(alias)`; `web=x~5` with a ttl of
/// 5 s; `web@3~5` a heartbeat; `-web` removed; `!web:5:words_joined` an error; `?` an undecodable body. A body
/// that starts with `bad` is rejected. The clock starts at 0; SERVER is `one` where it is missing.
func expectTranscript(
    _ variant: DiscoveryClient.Variant, servers: [String] = ["one"], limits: DiscoveryClient.Limits = .init(),
    policy: DiscoveryClient.DataErrorPolicy = .keepLastGood, _ transcript: String,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    var run = try ClientTranscript(variant: variant, servers: servers, limits: limits, policy: policy)
    var actual: [String] = []
    let expected = transcript.split(separator: "\n").map(String.init)
    for line in expected where !line.hasPrefix(" ") {
        actual.append(line)
        actual += try run.perform(line).map { "  " + $0 }
    }
    guard actual != expected else { return }
    let lines = actual.difference(from: expected).map { change in
        switch change {
        case .remove(let offset, let element, _): (offset, "- \(element)")
        case .insert(let offset, let element, _): (offset, "+ \(element)")
        }
    }
    let difference = lines.map { "\($0.0 + 1): \($0.1)" }.joined(separator: "\n")
    Issue.record(
        "- is expected, + is what happened:\n\(difference)\n\nwhole:\n\(actual.joined(separator: "\n"))",
        sourceLocation: sourceLocation)
}

/// Accepts a body `name|content`, unless the content starts with `bad`.
let transcriptValidator: ResourceValidator = { _, resource in
    let parts = String(decoding: resource.body ?? [], as: UTF8.self).split(separator: "|", maxSplits: 1)
    guard parts.count == 2 else { return .rejected(name: nil, reason: "undecodable") }
    return parts[1].hasPrefix("bad")
        ? .rejected(name: String(parts[0]), reason: "it is \(parts[1])") : .accepted(name: String(parts[0]))
}

struct ClientTranscript {
    struct Unreadable: Error {
        var line: String
    }

    let variant: DiscoveryClient.Variant
    let servers: [String]
    var client: DiscoveryClient
    var now = Instant(nanoseconds: 0)
    var streams: [Int: StreamID] = [:]

    init(
        variant: DiscoveryClient.Variant, servers: [String], limits: DiscoveryClient.Limits,
        policy: DiscoveryClient.DataErrorPolicy
    ) throws {
        self.variant = variant
        self.servers = servers
        // Without jitter, so that a transcript can name exact moments.
        client = try DiscoveryClient(
            configuration: .init(
                node: Node(id: "node"), variant: variant, servers: servers, backoff: Backoff(jitter: 0),
                dataErrorPolicy: policy, limits: limits),
            seed: 1, validate: transcriptValidator)
    }

    mutating func perform(_ line: String) throws -> [String] {
        let halves = line.split(separator: ":", maxSplits: 1).map(String.init)
        var words = (line.hasPrefix("respond") || line.hasPrefix("closed") ? halves[0] : line)
            .split(separator: " ").map(String.init)
        let rest = halves.count > 1 ? String(halves[1].drop { $0 == " " }) : ""
        let verb = words.removeFirst()
        switch verb {
        case "subscribe":
            return render(
                try client.subscribe(try type(words[0], line), to: Array(words.dropFirst()), now: now))
        case "unsubscribe":
            return render(client.unsubscribe(try type(words[0], line), from: Array(words.dropFirst()), now: now))
        case "opened": return render(client.streamOpened(stream(&words), now: now))
        case "closed": return render(client.streamClosed(stream(&words), reason: rest, now: now))
        case "paused":
            client.sendingPaused(stream(&words))
            return []
        case "resumed": return render(client.sendingResumed(stream(&words), now: now))
        case "respond":
            let id = stream(&words)
            return render(respond(words, resources: rest.split(separator: " ").map(String.init), on: id))
        case "wait":
            guard let seconds = Double(words[0]) else { throw Unreadable(line: line) }
            return pass(now.advanced(by: .nanoseconds(Int64(seconds * 1e9))))
        case "next": return [client.nextDeadline.map { seconds($0) } ?? "never"]
        case "status":
            let type = try type(words[0], line)
            return client.statuses.filter { $0.type == type }.map(render)
        default: throw Unreadable(line: line)
        }
    }

    private func type(_ word: String, _ line: String) throws -> ResourceType {
        guard let type = ResourceType(shortName: word) else { throw Unreadable(line: line) }
        return type
    }

    private func stream(_ words: inout [String]) -> StreamID {
        var server = 0
        if let first = words.first, let index = servers.firstIndex(of: first) {
            server = index
            words.removeFirst()
        }
        return streams[server] ?? StreamID(server: server, attempt: 0)
    }

    private mutating func pass(_ end: Instant) -> [String] {
        var lines: [String] = []
        while let next = client.nextDeadline, next <= end {
            now = max(now, next)
            let actions = render(client.tick(now: now))
            lines += (actions.isEmpty ? ["nothing"] : actions).map { "at \(seconds(now)) \($0)" }
        }
        now = end
        return lines
    }

    private mutating func respond(_ words: [String], resources: [String], on id: StreamID) -> [DiscoveryClient.Action] {
        let type = ResourceType(shortName: words[0])
        let url = type?.typeURL ?? words[0]
        let removed = resources.filter { $0.hasPrefix("-") }.map { String($0.dropFirst()) }
        let errors = resources.filter { $0.hasPrefix("!") }.map { text in
            let parts = text.dropFirst().split(separator: ":").map(String.init)
            let words = parts[2].replacing("_", with: " ")
            return ReceivedResourceError(
                name: parts[0], detail: ErrorDetail(code: Int32(parts[1]) ?? 2, message: words))
        }
        let others = resources.filter { !$0.hasPrefix("-") && !$0.hasPrefix("!") }
        let received = others.map { self.received($0, typeURL: url) }
        switch variant {
        case .delta:
            return client.receive(
                DeltaDiscoveryResponse(
                    systemVersionInfo: words[1], resources: received, removedResources: removed, typeURL: url,
                    nonce: words[2], resourceErrors: errors), on: id, now: now)
        case .stateOfTheWorld:
            return client.receive(
                DiscoveryResponse(
                    versionInfo: words[1], resources: received, typeURL: url, nonce: words[2],
                    resourceErrors: errors), on: id, now: now)
        }
    }

    /// `name@version=body(alias,alias)~ttl` or `?`.
    private func received(_ text: String, typeURL: String) -> ReceivedResource {
        if text == "?" { return ReceivedResource(typeURL: typeURL, body: Array("garbage".utf8)) }
        var resource = ReceivedResource()
        var rest = Substring(text)
        if let mark = rest.lastIndex(of: "~") {
            resource.timeToLive = Double(rest[rest.index(after: mark)...]).map { .seconds($0) }
            rest = rest[..<mark]
        }
        if rest.last == ")", let mark = rest.firstIndex(of: "(") {
            resource.aliases = rest[rest.index(after: mark)...].dropLast().split(separator: ",").map(String.init)
            rest = rest[..<mark]
        }
        // From the end: names of the xdstp form contain the sign.
        var body: Substring?
        if let mark = rest.lastIndex(of: "=") {
            body = rest[rest.index(after: mark)...]
            rest = rest[..<mark]
        }
        var isWrapped = variant == .delta || body == nil || resource.timeToLive != nil
        if let mark = rest.firstIndex(of: "@") {
            resource.version = String(rest[rest.index(after: mark)...])
            rest = rest[..<mark]
            isWrapped = true
        }
        if isWrapped { resource.name = String(rest) }
        if let body {
            resource.typeURL = body == "alien" ? "type.googleapis.com/alien" : typeURL
            resource.body = Array("\(rest)|\(body)".utf8)
        }
        return resource
    }

    // MARK: Rendering

    private func seconds(_ instant: Instant) -> String {
        instant.nanoseconds % 1_000_000_000 == 0
            ? "\(instant.nanoseconds / 1_000_000_000)" : "\(Double(instant.nanoseconds) / 1e9)"
    }

    private func content(_ held: HeldResource) -> String {
        String(decoding: held.body, as: UTF8.self).split(separator: "|").last.map(String.init) ?? ""
    }

    private mutating func render(_ actions: [DiscoveryClient.Action]) -> [String] {
        for case .openStream(let id) in actions { streams[id.server] = id }
        return actions.map(render)
    }

    private func render(_ action: DiscoveryClient.Action) -> String {
        switch action {
        case .openStream(let id): "open \(servers[id.server])"
        case .closeStream(let id): "close \(servers[id.server])"
        case .send(let request, let id):
            join(
                "send \(servers[id.server]) \(shortName(request.typeURL))",
                "[" + request.resourceNames.map { $0.isEmpty ? "''" : $0 }.joined(separator: " ") + "]",
                request.versionInfo.isEmpty ? "" : "version=\(request.versionInfo)", nonce(request.responseNonce),
                request.node == nil ? "" : "node", request.errorDetail.map { "NACK: \($0.message)" } ?? "")
        case .sendDelta(let request, let id):
            join(
                "send \(servers[id.server]) \(shortName(request.typeURL))",
                request.resourceNamesSubscribe.map { "+\($0)" }.joined(separator: " "),
                request.resourceNamesUnsubscribe.map { "-\($0)" }.joined(separator: " "),
                request.initialResourceVersions.isEmpty
                    ? ""
                    : "has("
                        + request.initialResourceVersions.sorted { $0.key < $1.key }
                        .map { "\($0.key)@\($0.value)" }.joined(separator: " ") + ")",
                nonce(request.responseNonce), request.node == nil ? "" : "node",
                request.errorDetail.map { "NACK: \($0.message)" } ?? "")
        case .update(let type, let held): "update \(type) \(held.name) \(held.version) \(content(held))"
        case .removed(let type, let name, let reason): "removed \(type) \(name) \(reason)"
        case .doesNotExist(let type, let name): "absent \(type) \(name)"
        case .rejected(let type, let name, let version, let reason):
            "rejected \(type) \(name ?? "?") \(version): \(reason)"
        case .receivedError(let type, let name, let detail): "error \(type) \(name) \(detail.code): \(detail.message)"
        case .ackSent(let type, let version, let nonce): "ack \(type) \(version) \(nonce)"
        case .nackSent(let type, let version, let nonce, _): "nack \(type) \(version) \(nonce)"
        case .ignoredResponse(let url, let nonce, let reason): "ignored \(shortName(url)) \(nonce): \(reason)"
        case .streamEnded(let id, let reason): "ended \(servers[id.server]): \(reason)"
        case .connectionFailed(let id, let reason): "failed \(servers[id.server]): \(reason)"
        case .serverInUse(let server): "using \(servers[server])"
        case .unreachable(let reason): "unreachable \(reason)"
        }
    }

    private func render(_ status: ResourceStatus) -> String {
        join(
            status.name, status.state.rawValue,
            status.held.map { held in
                "\(held.version) \(content(held)) from \(servers[status.server ?? 0]) at \(seconds(status.updatedAt!))"
            } ?? "",
            status.failure.map { "failed \($0.version) at \(seconds($0.failedAt)): \($0.detail.message)" } ?? "")
    }

    private func shortName(_ url: String) -> String {
        ResourceType(typeURL: url)?.shortName ?? url
    }

    private func nonce(_ nonce: String) -> String {
        nonce.isEmpty ? "" : "nonce=\(nonce)"
    }

    private func join(_ parts: String...) -> String {
        parts.filter { !$0.isEmpty }.joined(separator: " ")
    }
}
