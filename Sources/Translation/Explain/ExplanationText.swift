import Mesh

extension Explanation.Place: CustomStringConvertible {
    /// `VirtualService default/reviews spec.http[0]  reviews.yaml:12`
    public var description: String {
        let source = [file, line.map { "\($0)" }].compactMap { $0 }.joined(separator: ":")
        return [object.description, path, source].filter { !$0.isEmpty }.joined(separator: " ")
    }
}

extension Explanation.Rule: CustomStringConvertible {
    public var description: String { name + (place.map { ", \($0)" } ?? "") }
}

extension Explanation {
    /// For people: a line for each step, from the caller to what decides at each server.
    public var text: String {
        var lines: [String] = []
        func add(_ title: String, _ words: String) {
            lines.append(title + String(repeating: " ", count: max(1, 11 - title.count)) + words)
        }
        let caller = question.caller
        add("from", "\(caller.namespace)/\(caller.name), \(identity ?? "no identity")")
        add("to", "\(question.method) \(host):\(port)\(question.path)")
        if let service { add("service", "\(service)") }
        if let listener {
            add("listener", listener + (routes.map { ", routes \($0)" } ?? ""))
        }
        if let virtualHost { add("host", virtualHost) }
        if let rule { add("rule", "\(rule)") }
        for effect in effects { add("", effect) }
        switch outcome {
        case .forwarded: break
        case .redirected(let status, let target): add("outcome", "redirected (\(status)) to \(target)")
        case .answered(let status): add("outcome", "answered with \(status) by the caller's sidecar")
        case .passedThrough: add("outcome", "goes where the caller meant it to go, and is unknown to the mesh")
        case .refused(let status, let reason):
            add("outcome", "refused" + (status == 0 ? "" : " with \(status)") + ": \(reason)")
        }
        for share in shares {
            add("share", "\(Translation.percent(share.percent)) to \(share.cluster)")
            if let place = share.subsetPlace {
                lines.append("             subset \(share.subset), \(place)")
            } else if let place = share.destinationRule {
                lines.append("             \(place)")
            }
            for server in share.servers { lines += server.lines }
        }
        for note in notes { add("note", note) }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension Explanation.Server {
    fileprivate var lines: [String] {
        let name = [address.map { "\($0):\(port)" } ?? "expected, port \(port)", workload]
            .filter { !$0.isEmpty }.joined(separator: " ")
        let state = health == .unknown ? "" : ", \(health.rawValue)"
        var lines = ["  server     \(name): \(security.rawValue)\(state)"]
        func add(_ words: String) { lines.append("             " + words) }
        if let mode { add("\(mode.rawValue)\(modePlace.map { ", \($0)" } ?? "")") }
        switch verdict {
        case .allowed(nil): add("allowed: no policy asks")
        case .allowed(let rule?): add("allowed by \(rule)")
        case .denied(nil): add("denied: no ALLOW policy allows it")
        case .denied(let rule?): add("denied by \(rule)")
        case .noConnection(let reason): add("no connection: \(reason)")
        case .asked(let rule, let provider):
            add("asks `\(provider)`" + (rule.map { ", by \($0)" } ?? ""))
        case .unasked: add("no sidecar asks")
        }
        return lines
    }
}
