import CEnvoyAPI
import EnvoyAPI
import HTTP

/// Changes of a head, in steps: each level of the configuration (cluster, route, virtual host, table) is one. A step
/// removes first, then makes every value from the head as it is, then overwrites, then adds.
/// Source: Envoy, "Custom request/response headers", `HeaderParser`.
public struct HeaderOperations: Sendable {
    struct Addition: Sendable {
        enum Action: Sendable { case appendOrAdd, addIfAbsent, overwriteOrAdd, overwriteIfPresent }
        let name: [UInt8]
        let action: Action
        let format: HeaderFormat
        /// The value, if it is the same for every request.
        let constant: [UInt8]?
        let keepsEmptyValue: Bool
    }

    struct Step: Sendable {
        var removals: [[UInt8]]
        var additions: [Addition]
        var isEmpty: Bool { removals.isEmpty && additions.isEmpty }
    }

    let steps: [Step]
    /// Whether a value depends on more than the configuration.
    public let needsFacts: Bool

    public static let none = HeaderOperations([])

    public var isEmpty: Bool { steps.isEmpty }

    init(_ steps: [Step]) {
        self.steps = steps.filter { !$0.isEmpty }
        needsFacts = steps.contains { $0.additions.contains { $0.constant == nil } }
    }

    /// - Parameters:
    ///   - isResponse: whether the head is one; the other head that values may ask for is that of the facts.
    ///   - facts: asked for only where a value depends on them.
    public func apply(to head: inout HeaderList, isResponse: Bool = false, _ facts: () -> AccessRecord) {
        guard !steps.isEmpty else { return }
        let facts = needsFacts ? facts() : nil
        for step in steps { step.apply(to: &head, isResponse: isResponse, facts) }
    }
}

extension HeaderOperations.Step {
    static let empty = HeaderOperations.Step(removals: [], additions: [])

    /// - Parameters:
    ///   - add, remove: the names of the fields in the message, for errors: `request_headers_to_add`.
    init(
        _ options: Repeated<HeaderValueOption>, _ names: RepeatedStrings, side: String
    ) throws(ConfigurationError) {
        additions = try options.read("\(side)_headers_to_add") { (option) throws(ConfigurationError) in
            try HeaderOperations.Addition(option.pointee)
        }
        removals = try names.read("\(side)_headers_to_remove") { (name) throws(ConfigurationError) in
            try HeaderOperations.Addition.checked(name)
        }
    }

    func apply(to head: inout HeaderList, isResponse: Bool, _ facts: AccessRecord?) {
        for name in removals { name.withUnsafeBytes { _ = head.remove(bytes: $0) } }
        guard !additions.isEmpty else { return }
        // Values are made before any of them is written: they see the head as it came to this step.
        let before = head
        if isResponse { facts?.response = before } else { facts?.request = before }
        for isOverwriting in [true, false] {
            for addition in additions where addition.isOverwriting == isOverwriting {
                let value = addition.constant ?? facts.map { addition.format.value($0) } ?? []
                guard !value.isEmpty || addition.keepsEmptyValue else { continue }
                addition.write(value, to: &head, before)
            }
        }
    }
}

extension HeaderOperations.Addition {
    init(_ message: HeaderValueOption) throws(ConfigurationError) {
        let header = try message.header.required("header")
        name = try at("header.key") { () throws(ConfigurationError) in try Self.checked(header.key.string) }
        let raw = header.raw_value_bytes
        let text = header.value.string
        if !raw.isEmpty, !text.isEmpty { throw .invalid(path: "header", message: "both value and raw_value are given") }
        if let bad = raw.first(where: { !FieldText.isOfValue($0) }) {
            throw .invalid(path: "header.raw_value", message: "the byte \(bad) cannot be in a header")
        }
        try FieldText.value(text, "header.value")
        format = try at("header.value") { () throws(ConfigurationError) in
            try HeaderFormat(raw.isEmpty ? text : raw.text)
        }
        constant = format.constant
        keepsEmptyValue = message.keep_empty_value != 0
        switch message.append_action {
        case .APPEND_IF_EXISTS_OR_ADD: action = message.append.flag == false ? .overwriteOrAdd : .appendOrAdd
        case .ADD_IF_ABSENT: action = .addIfAbsent
        case .OVERWRITE_IF_EXISTS_OR_ADD: action = .overwriteOrAdd
        case .OVERWRITE_IF_EXISTS: action = .overwriteIfPresent
        default: throw .invalid(path: "append_action", message: "unknown value")
        }
        if message.append.flag != nil, message.append_action != .APPEND_IF_EXISTS_OR_ADD {
            throw .invalid(path: "append", message: "both append and append_action are given")
        }
    }

    /// A name that may be changed, in lower case.
    static func checked(_ name: String) throws(ConfigurationError) -> [UInt8] {
        let bytes = name.utf8.map(\.lowerCased)
        if bytes.isEmpty { throw .invalid(path: "", message: "an empty name") }
        if bytes.first == UInt8(ascii: ":") || name.lowercased() == "host" {
            throw .invalid(path: "", message: "`\(name)` cannot be changed so: use a host or path rewrite")
        }
        return try FieldText.name(name)
    }

    var isOverwriting: Bool {
        switch action {
        case .overwriteOrAdd, .overwriteIfPresent: true
        case .appendOrAdd, .addIfAbsent: false
        }
    }

    func write(_ value: [UInt8], to head: inout HeaderList, _ before: HeaderList) {
        name.withUnsafeBytes { name in
            value.withUnsafeBytes { value in
                switch action {
                case .overwriteOrAdd: head.set(name: name, value: value)
                case .overwriteIfPresent: if before.contains(bytes: name) { head.set(name: name, value: value) }
                case .appendOrAdd: head.append(name: name, value: value)
                case .addIfAbsent: if !before.contains(bytes: name) { head.append(name: name, value: value) }
                }
            }
        }
    }
}
