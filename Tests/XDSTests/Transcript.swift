import Foundation
import Testing
import Time

@testable import XDS

// A transcript is a conversation with the server machines, kept as a file. Lines at the margin are what is done to
// the machines; the indented lines below are what they answered. `#` starts a comment.
//
//     publish CDS a=1 b=1;eds=e | EDS e=1    everything that a view shows; `view=x` first for another view
//     publish CDS label=2024 a=1             with the publisher's version
//     update CDS a=2 -b                      a change of some resources
//     open a delta                           a stream on the aggregated service; `open a sotw CDS` for a single one
//     a node n1 CDS subscribe * holds a=1    delta request; `holds` gives initial_resource_versions
//     a CDS [x y] version v1                 state-of-the-world request; names and nonce are repeated when not given
//     a CDS ACK                              of the last response; `ACK 3` of another, `NACK words`, `nonce text`
//     after 5s                               virtual time passes, timers fire
//     deadline a / status a / drop a         ask, ask, disconnect
//     restart                                all streams end, the process starts anew and publishes the same
//
// A resource is `name=content`, with `;eds=NAME`, `;alias=NAME`, `;ttl=SECONDS`, `;version=TEXT`, or
// `name!error-words`. In answers `(a=1)` is wrapped, `a~` has no body, `-a` is removed, `a!words` is an error.
// Versions that are hashes are shown as v1, v2, … by first appearance; nonces are numbered likewise.

/// A mistake in a transcript's inputs.
struct TranscriptMistake: Error, CustomStringConvertible {
    var description: String
}

struct TranscriptRunner {
    private enum Machine {
        case delta(DeltaStream)
        case stateOfTheWorld(StateOfTheWorldStream)
    }

    private struct Client {
        var machine: Machine
        var view: ViewName?
        var names: [ResourceType: [String]] = [:]
        var lastNonce: [ResourceType: String] = [:]
    }

    private var cache = TranscriptRunner.makeCache()
    private var clients: [String: Client] = [:]
    private var now = Instant(nanoseconds: 0)
    private var versions: [String: String] = [:]
    private var nonces: [String: Int] = [:]
    private var output: [String] = []
    private var limits = StreamLimits()

    private static func makeCache() -> SnapshotCache {
        SnapshotCache { node in
            node.id.contains("/") ? ViewName(String(node.id.prefix { $0 != "/" })) : "default"
        }
    }

    /// - Returns: the transcript with what the machines answer now.
    static func run(_ text: String) throws -> String {
        var runner = TranscriptRunner()
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("    ") { continue }
            runner.output.append(String(line))
            if line.hasPrefix("#") || line.allSatisfy(\.isWhitespace) { continue }
            try runner.perform(line.split(separator: " ").map(String.init))
        }
        return runner.output.joined(separator: "\n")
    }

    private mutating func perform(_ words: [String]) throws {
        switch words[0] {
        case "publish", "update": try publish(words)
        case "open": try open(words)
        case "limit": limits.namesPerType = Int(words[1])!
        case "drop": clients[words[1]] = nil
        case "after": pass(.seconds(Double(words[1].dropLast())!))
        case "deadline":
            let deadline = clients[words[1]].flatMap { client -> Instant? in
                switch client.machine {
                case .delta(let stream): stream.nextDeadline
                case .stateOfTheWorld(let stream): stream.nextDeadline
                }
            }
            answer("\(words[1]) next \(deadline.map { "in \(Self.text(now.duration(to: $0)))" } ?? "never")")
        case "status": status(words[1])
        case "restart": try restart()
        default: try request(words)
        }
    }

    private mutating func answer(_ line: String) { output.append("    " + line) }

    // MARK: Publishing

    private mutating func publish(_ words: [String]) throws {
        var view: ViewName = "default"
        var setting: [Resource] = []
        var removing: [ResourceReference] = []
        var labels: [ResourceType: String] = [:]
        var type: ResourceType?
        for word in words.dropFirst() where word != "|" {
            if word.hasPrefix("view=") {
                view = ViewName(String(word.dropFirst(5)))
            } else if let named = ResourceType(shortName: word), word == word.uppercased() {
                type = named
            } else if let type {
                if word.hasPrefix("label=") {
                    labels[type] = String(word.dropFirst(6))
                } else if word.hasPrefix("-") {
                    removing.append(ResourceReference(type, String(word.dropFirst())))
                } else {
                    setting.append(try Self.resource(type, word))
                }
            } else {
                throw TranscriptMistake(description: "\(word) comes before a type")
            }
        }
        do {
            if words[0] == "publish" {
                try cache.publish(setting, labels: labels, to: view)
            } else {
                try cache.update(view, setting: setting, removing: removing, labels: labels)
            }
        } catch {
            answer("refused: \(error)")
        }
        showSnapshots()
    }

    static func resource(_ type: ResourceType, _ word: String) throws -> Resource {
        var parts = word.split(separator: ";").map(String.init)
        let head = parts.removeFirst()
        if let mark = head.firstIndex(of: "!") {
            let words = String(head[head.index(after: mark)...]).replacing("-", with: " ")
            return Resource(type, name: String(head[..<mark]), error: ErrorDetail(code: 5, message: words))
        }
        let pair = head.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard pair.count == 2 else { throw TranscriptMistake(description: "\(word) is no name=content") }
        var version: String?
        var timeToLive: Duration?
        var aliases: [String] = []
        var dependencies: [ResourceReference] = []
        for part in parts {
            let option = part.split(separator: "=", maxSplits: 1).map(String.init)
            switch option[0] {
            case "eds": dependencies.append(ResourceReference(.endpoints, option[1]))
            case "alias": aliases.append(option[1])
            case "ttl": timeToLive = .seconds(Double(option[1])!)
            case "version": version = option[1]
            default: throw TranscriptMistake(description: "\(part) is unknown")
            }
        }
        return Resource(
            type, name: pair[0].replacing("<NUL>", with: "\0"), body: Array(pair[1].utf8), version: version,
            timeToLive: timeToLive, aliases: aliases, dependencies: dependencies)
    }

    private mutating func showSnapshots() {
        for name in clients.keys.sorted() {
            guard let view = clients[name]?.view, let snapshot = cache.snapshot(of: view) else { continue }
            drive(name) {
                $0.publish(snapshot, now: $1)
            } stateOfTheWorld: {
                $0.publish(snapshot, now: $1)
            }
        }
    }

    private mutating func restart() throws {
        let old = cache
        cache = Self.makeCache()
        clients = [:]
        for view in old.views {
            guard let snapshot = old.snapshot(of: view) else { continue }
            let resources = ResourceType.all.flatMap { snapshot[$0].sortedResources() }
            var labels: [ResourceType: String] = [:]
            for type in ResourceType.all { labels[type] = snapshot[type].label }
            try cache.publish(resources, labels: labels, to: view)
        }
    }

    // MARK: Clients

    private mutating func open(_ words: [String]) throws {
        var service = DiscoveryService.aggregated
        if words.count > 3, let type = ResourceType(shortName: words[3]) { service = .single(type) }
        let machine: Machine =
            words[2] == "delta"
            ? .delta(DeltaStream(service: service, limits: limits))
            : .stateOfTheWorld(StateOfTheWorldStream(service: service, limits: limits))
        clients[words[1]] = Client(machine: machine)
    }

    private mutating func request(_ words: [String]) throws {
        var rest = words[...]
        let name = rest.removeFirst()
        guard let client = clients[name] else { throw TranscriptMistake(description: "no stream \(name)") }
        var node: Node?
        if rest.first == "node" {
            rest.removeFirst()
            node = Node(id: rest.removeFirst())
            if rest.first == "wraps" {
                rest.removeFirst()
                node?.clientFeatures = ["xds.config.supports-resource-in-sotw"]
            }
        }
        let typeName = rest.popFirst() ?? ""
        let type = ResourceType(shortName: typeName)
        var delta = DeltaDiscoveryRequest(node: node, typeURL: type?.typeURL ?? (typeName == "-" ? "" : typeName))
        var names = type.flatMap { client.names[$0] } ?? []
        var version = ""
        var list = ""
        var stateOfTheWorldNonce = type.flatMap { client.lastNonce[$0] } ?? ""
        while let word = rest.popFirst() {
            switch word {
            case "ACK", "NACK":
                var nonce = type.flatMap { client.lastNonce[$0] } ?? ""
                if let number = rest.first.flatMap({ Int($0) }) {
                    rest.removeFirst()
                    nonce = nonces.first { $0.value == number }?.key ?? ""
                }
                delta.responseNonce = nonce
                stateOfTheWorldNonce = nonce
                if word == "NACK" {
                    delta.errorDetail = ErrorDetail(message: rest.joined(separator: " "))
                    rest = []
                }
            case "nonce":
                delta.responseNonce = rest.removeFirst()
                stateOfTheWorldNonce = delta.responseNonce
            case "version":
                let shown = rest.removeFirst()
                version = versions.first { $0.value == shown }?.key ?? shown
            case "subscribe", "unsubscribe", "holds": list = word
            case _ where word.hasPrefix("["):
                var listed = word.dropFirst()
                names = []
                while true {
                    let isLast = listed.hasSuffix("]")
                    let text = isLast ? listed.dropLast() : listed
                    if !text.isEmpty { names.append(Self.name(String(text))) }
                    if isLast { break }
                    listed = (rest.popFirst() ?? "]")[...]
                }
            case _ where list == "subscribe": delta.resourceNamesSubscribe.append(Self.name(word))
            case _ where list == "unsubscribe": delta.resourceNamesUnsubscribe.append(Self.name(word))
            case _ where list == "holds":
                let resource = try Self.resource(.cluster, word)
                delta.initialResourceVersions[resource.name] = resource.version
            default: throw TranscriptMistake(description: "what is \(word)?")
            }
        }
        if let type { clients[name]?.names[type] = names }
        let request = DiscoveryRequest(
            versionInfo: version, node: node, resourceNames: names, typeURL: delta.typeURL,
            responseNonce: stateOfTheWorldNonce, errorDetail: delta.errorDetail)
        drive(name) {
            $0.receive(delta, now: $1)
        } stateOfTheWorld: {
            $0.receive(request, now: $1)
        }
    }

    /// `<NUL>` and `<empty>` stand for what a line cannot hold, `many:N` for a long name of N bytes.
    private static func name(_ word: String) -> String {
        if word == "<empty>" { return "" }
        if word.hasPrefix("many:") { return String(repeating: "n", count: Int(word.dropFirst(5))!) }
        return word.replacing("<NUL>", with: "\0")
    }

    private mutating func drive(
        _ name: String, delta: (inout DeltaStream, Instant) -> [StreamAction],
        stateOfTheWorld: (inout StateOfTheWorldStream, Instant) -> [StreamAction]
    ) {
        let actions: [StreamAction]
        switch clients[name]?.machine {
        case .delta(var stream):
            actions = delta(&stream, now)
            clients[name]?.machine = .delta(stream)
        case .stateOfTheWorld(var stream):
            actions = stateOfTheWorld(&stream, now)
            clients[name]?.machine = .stateOfTheWorld(stream)
        case nil: return
        }
        for action in actions { note(action, name) }
    }

    private mutating func note(_ action: StreamAction, _ name: String) {
        switch action {
        case .send(let response):
            clients[name]?.lastNonce[response.type] = response.nonce
            answer("\(name) < \(response.type) \(show(response))")
        case .opened(let node):
            answer("\(name) opened \(node.id)")
            let view = cache.view(of: node)
            clients[name]?.view = view
            guard let snapshot = cache.snapshot(of: view) else { return }
            drive(name) {
                $0.publish(snapshot, now: $1)
            } stateOfTheWorld: {
                $0.publish(snapshot, now: $1)
            }
        case .acknowledged(let type, let version, let nonce):
            answer("\(name) noted \(type) ACK \(number(nonce)) \(show(version))")
        case .rejected(let type, let version, let nonce, let detail):
            answer("\(name) noted \(type) NACK \(number(nonce)) \(show(version)): \(detail.message)")
        case .ignoredStale(let type, let nonce, let detail):
            let known = nonces[nonce].map(String.init) ?? nonce.debugDescription
            answer("\(name) ignored \(type) nonce \(known)\(detail.map { ": \($0.message)" } ?? "")")
        case .removalForced(let type, let count, let waited):
            answer("\(name) forced \(type) removal of \(count) after \(Self.text(waited))")
        case .additionForced(let type, let waited):
            answer("\(name) forced \(type) addition after \(Self.text(waited))")
        case .fail(let error):
            answer("\(name) failed \(error.code): \(error.message)")
        }
    }

    private mutating func pass(_ duration: Duration) {
        let end = now.advanced(by: duration)
        while true {
            let next = clients.keys.sorted().compactMap { name -> (Instant, String)? in
                switch clients[name]?.machine {
                case .delta(let stream): stream.nextDeadline.map { ($0, name) }
                case .stateOfTheWorld(let stream): stream.nextDeadline.map { ($0, name) }
                case nil: nil
                }
            }.min { $0.0 < $1.0 }
            guard let (deadline, name) = next, deadline <= end else { break }
            now = max(now, deadline)
            drive(name) {
                $0.tick(now: $1)
            } stateOfTheWorld: {
                $0.tick(now: $1)
            }
        }
        now = end
    }

    // MARK: What is shown

    private mutating func status(_ name: String) {
        let status: StreamStatus
        switch clients[name]?.machine {
        case .delta(let stream): status = stream.status(in: clients[name]?.view)
        case .stateOfTheWorld(let stream): status = stream.status(in: clients[name]?.view)
        case nil: return
        }
        for type in status.types {
            var line = "\(name) is \(type.type) \(type.state)"
            line += " sent \(type.sentVersion.map { show($0) } ?? "nothing")"
            line += " acked \(type.acknowledgedVersion.map { show($0) } ?? "nothing")"
            if let rejection = type.rejection {
                line += " nacked \(show(rejection.version)): \(rejection.detail.message)"
            }
            answer(line)
        }
    }

    private mutating func show(_ response: PreparedResponse) -> String {
        var words = response.resources.map { resource -> String in
            let content =
                response.omitsBody(of: resource)
                ? "\(resource.name)~" : "\(resource.name)=\(String(decoding: resource.body, as: UTF8.self))"
            return response.form != .delta && response.wraps(resource) ? "(\(content))" : content
        }
        words += response.removedNames.map { "-\($0)" }
        words += response.errors.map { "\($0.name)!\($0.error?.message.replacing(" ", with: "-") ?? "")" }
        let heartbeat = response.isHeartbeat ? " heartbeat" : ""
        let content = words.isEmpty ? "nothing" : words.joined(separator: " ")
        return "\(show(response.version)) nonce \(number(response.nonce))\(heartbeat): \(content)"
    }

    private mutating func show(_ version: String) -> String {
        guard version.count == 32, version.allSatisfy(\.isHexDigit) else { return "\"\(version)\"" }
        if let known = versions[version] { return known }
        versions[version] = "v\(versions.count + 1)"
        return "v\(versions.count)"
    }

    private mutating func number(_ nonce: String) -> Int {
        if let known = nonces[nonce] { return known }
        nonces[nonce] = nonces.count + 1
        return nonces.count
    }

    private static func text(_ duration: Duration) -> String {
        let seconds = Double(duration.nanoseconds) / 1e9
        return seconds == seconds.rounded() ? "\(Int(seconds))s" : "\(seconds)s"
    }
}
