import EnvoyAPI
import Protobuf

extension Translator {
    func match(_ match: RequestMatch) -> UnsafeMutablePointer<RouteMatch> {
        arena.make { made in
            switch match.path {
            case .exact(let path): made.set(path: arena(path))
            case .prefix(let path): made.set(prefix: arena(path))
            // Envoy takes no such prefix, and no path has one.
            case .separatedPrefix(let path) where path.contains("?") || path.contains("#"):
                made.set(safe_regex: regex(quoted(path) + "(?:/.*)?"))
            case .separatedPrefix(let path): made.set(path_separated_prefix: arena(path))
            case .regex(let pattern): made.set(safe_regex: regex(pattern))
            }
            if match.ignoresCase { made.case_sensitive = arena.bool(false) }
            (made.n_headers, made.headers) = arena.list(match.headers.map { header($0) })
            (made.n_query_parameters, made.query_parameters) = arena.list(match.parameters.map { parameter($0) })
        }
    }

    private func header(_ header: RequestMatch.Header) -> UnsafeMutablePointer<HeaderMatcher> {
        arena.make { made in
            made.name = arena(header.name)
            if header.condition == .present {
                made.set(present_match: true)
            } else {
                made.set(string_match: text(header.condition))
                if header.isInverted { made.set(treat_missing_header_as_empty: true) }
            }
            made.set(invert_match: header.isInverted)
        }
    }

    private func parameter(_ parameter: RequestMatch.Parameter) -> UnsafeMutablePointer<QueryParameterMatcher> {
        arena.make { made in
            made.name = arena(parameter.name)
            if parameter.condition == .present {
                made.set(present_match: true)
            } else {
                made.set(string_match: text(parameter.condition))
            }
        }
    }

    /// - Parameter condition: for `.present` anything matches.
    func text(_ condition: TextCondition) -> UnsafeMutablePointer<StringMatcher> {
        arena.make { made in
            switch condition {
            case .exact(let text): made.set(exact: arena(text))
            // Envoy takes no empty prefix.
            case .prefix(""), .present: made.set(safe_regex: regex(".*"))
            case .prefix(let text): made.set(prefix: arena(text))
            case .regex(let pattern): made.set(safe_regex: regex(pattern))
            }
        }
    }

    /// - Parameter pattern: Envoy takes no empty one.
    func regex(_ pattern: String) -> UnsafeMutablePointer<RegexMatcher> {
        arena.make { $0.regex = arena(pattern.isEmpty ? "(?:)" : pattern) }
    }
}
