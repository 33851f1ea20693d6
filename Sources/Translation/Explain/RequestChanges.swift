import Mesh
import Patterns

extension RoutedRequest {
    /// The request as a rule sends it on: with another path, host and headers.
    func changed(by rule: RouteRule, _ forwarding: Forwarding, _ target: Forwarding.Target) -> RoutedRequest {
        var request = self
        switch forwarding.path {
        case .matched(let new): request.path = replacingMatched(by: new, rule.match)
        case .regex(let pattern, let substitution):
            request.path = bare.replacingMatches(of: pattern, by: substitution) + path.dropFirst(bare.count)
        case nil: break
        }
        if let authority = forwarding.authority ?? target.authority { request.authority = authority }
        for change in [target.requestHeaders, rule.requestHeaders] {
            for header in change.set { request.headers[header.name.lowercased()] = header.value }
            for header in change.add {
                let old = request.headers[header.name.lowercased()]
                request.headers[header.name.lowercased()] = old.map { $0 + "," + header.value } ?? header.value
            }
            for name in change.remove { request.headers[name.lowercased()] = nil }
        }
        return request
    }

    /// The path with another one in place of what a match took of it.
    func replacingMatched(by new: String, _ match: RequestMatch) -> String {
        switch match.path {
        case .exact, .regex: new + path.dropFirst(bare.count)
        case .prefix(let old), .separatedPrefix(let old): new + path.dropFirst(old.count)
        }
    }
}

extension Redirection {
    /// Where a request is sent, as far as the words of the rule say it.
    func target(of request: RoutedRequest, _ match: RequestMatch) -> String {
        let path: String =
            switch self.path {
            // The query goes along, unless the rule has one of its own.
            case .full(let path): path.contains("?") ? path : path + request.path.dropFirst(request.bare.count)
            case .prefix(let prefix): request.replacingMatched(by: prefix, match)
            case .regex(let pattern, let substitution):
                request.bare.replacingMatches(of: pattern, by: substitution)
                    + request.path.dropFirst(request.bare.count)
            case nil: request.path
            }
        var authority = self.authority ?? request.authority
        if let port { authority = authority.prefix { $0 != ":" } + ":\(port)" }
        return "\(scheme ?? request.scheme)://\(authority)\(path)"
    }
}

extension Substring {
    /// - Parameters:
    ///   - pattern: RE2; one that it refuses leaves the text as it is.
    ///   - substitution: with `\1` for groups.
    fileprivate func replacingMatches(of pattern: String, by substitution: String) -> String {
        guard let pattern = try? Pattern(pattern) else { return String(self) }
        var text = String(self)
        let made = text.withUTF8 { pattern.replacingMatches(in: UnsafeRawBufferPointer($0), with: substitution) }
        return made.map { String(decoding: $0, as: UTF8.self) } ?? String(self)
    }
}

extension RouteRule {
    /// What it does besides leading requests somewhere, each in a few words.
    var effects: [String] {
        var words: [String] = []
        if case .forward(let forwarding) = action {
            switch forwarding.path {
            case .matched(let path): words.append("writes the path anew: \(path)")
            case .regex(let pattern, let substitution):
                words.append("writes the path anew: \(pattern) becomes \(substitution)")
            case nil: break
            }
            if let authority = forwarding.authority { words.append("calls the host \(authority)") }
            for mirror in forwarding.mirrors {
                words.append("copies \(percent(mirror.percentage)) of the requests to \(mirror.cluster)")
            }
            if !forwarding.hash.isEmpty { words.append("keeps a client with its endpoint") }
        }
        if let timeout, timeout > .zero { words.append("ends after \(timeout)") }
        switch retries {
        case .none: words.append("tries once")
        case .policy(let rule): words.append("tries \(rule.attempts) times more")
        case .standard: break
        }
        if let delay = fault?.delay { words.append("delays \(percent(delay.percentage)) by \(delay.fixed)") }
        if let abort = fault?.abort {
            switch abort.error {
            case .http(let status): words.append("aborts \(percent(abort.percentage)) with \(status)")
            case .grpc(let status): words.append("aborts \(percent(abort.percentage)) with \(status)")
            }
        }
        return words
    }
}

/// `80 %`, `33.3 %`
func percent(_ number: Double) -> String {
    let tenths = Int((number * 10).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10) %" : "\(tenths / 10).\(tenths % 10) %"
}
