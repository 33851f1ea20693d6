import Documents
import Mesh

// The explanation for programs.

extension Explanation {
    /// Everything that it says, as one JSON or YAML document. What is unknown is left out.
    public var document: DocumentNode {
        var fields: [(String, DocumentNode?)] = [
            ("from", .text("\(question.caller.namespace)/\(question.caller.name)")),
            ("identity", identity.map { .text($0) }), ("host", .text(host)), ("port", .number(port)),
            ("service", service?.node), ("listener", listener.map { .text($0) }),
            ("routes", routes.map { .text($0) }), ("virtualHost", virtualHost.map { .text($0) }),
            ("rule", rule?.node), ("effects", effects.isEmpty ? nil : .texts(effects)), ("fault", fault?.node),
        ]
        switch outcome {
        case .forwarded: fields.append(("outcome", .text("forwarded")))
        case .redirected(let status, let target):
            fields += [("outcome", .text("redirected")), ("status", .number(status)), ("location", .text(target))]
        case .answered(let status): fields += [("outcome", .text("answered")), ("status", .number(status))]
        case .passedThrough: fields.append(("outcome", .text("passedThrough")))
        case .refused(let status, let reason):
            fields += [("outcome", .text("refused")), ("status", .number(status)), ("reason", .text(reason))]
        }
        fields.append(("shares", shares.isEmpty ? nil : .elements(shares.map(\.node))))
        fields.append(("notes", notes.isEmpty ? nil : .texts(notes)))
        return .fields(fields)
    }
}

extension Explanation.Place {
    fileprivate var node: DocumentNode {
        .fields([
            ("object", .text("\(object)")), ("path", path.isEmpty ? nil : .text(path)),
            ("file", file.map { .text($0) }),
            ("line", line.map { .number($0) }),
        ])
    }
}

extension Explanation.Rule {
    fileprivate var node: DocumentNode { .fields([("name", .text(name)), ("place", place?.node)]) }
}

extension Explanation.Fault {
    fileprivate var node: DocumentNode {
        .fields([
            ("abort", abortStatus.map { .text($0) }),
            ("abortPercent", abortStatus.map { _ in .number(abortPercent) }),
            ("delay", delay.map { .text("\($0)") }), ("delayPercent", delay.map { _ in .number(delayPercent) }),
        ])
    }
}

extension Explanation.Share {
    fileprivate var node: DocumentNode {
        .fields([
            ("cluster", .text(cluster)), ("host", .text(host)), ("port", .number(port)),
            ("subset", subset.isEmpty ? nil : .text(subset)), ("percent", .number(percent)),
            ("destinationRule", destinationRule?.node), ("subsetPlace", subsetPlace?.node),
            ("servers", .elements(servers.map(\.node))),
        ])
    }
}

extension Explanation.Server {
    fileprivate var node: DocumentNode {
        let (word, rule, reason): (String, Explanation.Rule?, String?) =
            switch verdict {
            case .allowed(let rule): ("allowed", rule, nil)
            case .denied(let rule): ("denied", rule, nil)
            case .noConnection(let reason): ("noConnection", nil, reason)
            case .asked(let rule, let provider): ("asked", rule, provider)
            case .unasked: ("unasked", nil, nil)
            }
        return .fields([
            ("workload", workload.isEmpty ? nil : .text(workload)), ("address", address.map { .text($0) }),
            ("port", .number(port)), ("hasSidecar", .flag(hasSidecar)), ("security", .text(security.rawValue)),
            ("mode", mode.map { .text($0.rawValue) }), ("modePlace", modePlace?.node), ("verdict", .text(word)),
            ("decidedBy", rule?.node), ("reason", reason.map { .text($0) }), ("health", .text(health.rawValue)),
        ])
    }
}

extension DocumentNode {
    fileprivate static func text(_ text: String) -> DocumentNode { .scalar(DocumentScalar(text, .quoted)) }
    fileprivate static func number(_ number: Int) -> DocumentNode { .scalar(DocumentScalar("\(number)", .number)) }
    fileprivate static func number(_ number: Double) -> DocumentNode { .scalar(DocumentScalar("\(number)", .number)) }
    fileprivate static func flag(_ flag: Bool) -> DocumentNode { .scalar(DocumentScalar("\(flag)", .keyword)) }
    fileprivate static func texts(_ list: [String]) -> DocumentNode { .elements(list.map { .text($0) }) }
    fileprivate static func elements(_ list: [DocumentNode]) -> DocumentNode {
        .sequence(list, at: SourcePosition(line: 1, column: 1))
    }
    /// Those that are there.
    fileprivate static func fields(_ fields: [(String, DocumentNode?)]) -> DocumentNode {
        .mapping(
            fields.compactMap { name, node in
                node.map { Member(key: DocumentScalar(name, .quoted), value: $0) }
            }, at: SourcePosition(line: 1, column: 1))
    }
}
