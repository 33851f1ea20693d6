import Documents

/// The fields of one mapping while they are read: each is asked for by name, and what nobody asked for is an error.
struct ObjectFields {
    let place: ObjectPlace
    let position: SourcePosition
    private let members: [DocumentNode.Member]
    /// Where each key is, for mappings so large that looking through them for each field would take long.
    private let lookup: [String: Int]?
    /// The names that were asked for.
    private var known: [String] = []

    init(_ members: [DocumentNode.Member], at place: ObjectPlace, _ position: SourcePosition) {
        self.members = members
        self.place = place
        self.position = position
        lookup =
            members.count <= 24
            ? nil
            : Dictionary(members.enumerated().map { ($1.key.text, $0) }, uniquingKeysWith: { first, _ in first })
    }

    private func member(_ name: String) -> DocumentNode.Member? {
        if let lookup { return lookup[name].map { members[$0] } }
        return members.first { $0.key.text == name }
    }

    /// The node of a field that is there and not null.
    private func node(_ name: String) -> DocumentNode? {
        guard let node = member(name)?.value, !node.isNull else { return nil }
        return node
    }

    /// Whether the field is written, and not null.
    func has(_ name: String) -> Bool { node(name) != nil }

    /// Where the field is written, or the mapping where it is not.
    func position(of name: String) -> SourcePosition { member(name)?.key.position ?? position }

    /// Where an element of a list is written, or a field of it.
    func position(of name: String, _ index: Int, _ field: String? = nil) -> SourcePosition {
        guard let elements = node(name)?.elements, elements.indices.contains(index) else { return position(of: name) }
        let element = elements[index]
        return field.flatMap { element[$0]?.position } ?? element.position
    }

    /// Where the value of a mapping's key is written.
    func position(of name: String, key: String) -> SourcePosition { node(name)?[key]?.position ?? position(of: name) }

    // MARK: Reading

    /// A field that may be missing; null is the same as missing, as for Kubernetes.
    mutating func optional<V: ObjectValue>(_ name: String, as type: V.Type = V.self) -> V? {
        known.append(name)
        guard let node = node(name) else { return nil }
        return V.read(node, at: place.field(name))
    }

    /// A field that has a meaning of its own when it is missing.
    mutating func value<V: ObjectValue>(_ name: String, default standard: V) -> V { optional(name) ?? standard }

    /// A field that must be there. - Parameter placeholder: stands for it until the text is refused.
    mutating func required<V: ObjectValue>(_ name: String, _ placeholder: V) -> V {
        if let value: V = optional(name) { return value }
        if !has(name) { failMissing(name) }
        return placeholder
    }

    func failMissing(_ name: String) {
        place.fail(.missingField, at: position, "`\(name)` is missing", mend: "add `\(name):`")
    }

    /// Each element of a list or none: a list that is there and empty is missing its point where `atLeastOne`.
    mutating func list<V: ObjectValue>(_ name: String, atLeastOne: Bool = false) -> [V] {
        let values: [V]? = optional(name)
        if atLeastOne, values?.isEmpty ?? !has(name) { failMissing(name) }
        return values ?? []
    }

    mutating func int(_ name: String, _ range: ClosedRange<Int>) -> Int? {
        guard let value: Int = optional(name) else { return nil }
        check(
            range.contains(value), name, "\(value) is not within \(range.words)", mend: "write a number \(range.words)")
        return value
    }

    mutating func number(_ name: String, _ range: ClosedRange<Double>) -> Double? {
        guard let value: Double = optional(name) else { return nil }
        let words = "\(jsonText(range.lowerBound)) to \(jsonText(range.upperBound))"
        check(range.contains(value), name, "\(jsonText(value)) is not within \(words)", mend: "write a number \(words)")
        return value
    }

    /// A port number.
    mutating func port(_ name: String) -> Int? { int(name, 1...65_535) }

    mutating func requiredPort(_ name: String) -> Int {
        if let value = port(name) { return value }
        if !has(name) { failMissing(name) }
        return 1
    }

    /// A port by its number, or by the name that it has in the workload.
    /// - Returns: nil where there is none.
    mutating func portOrName(_ name: String) -> IntOrString? {
        let port: IntOrString? = optional(name)
        switch port {
        case .number(let number):
            check((1...65_535).contains(number), name, "\(number) is no port", mend: "write 1 to 65535")
        case .text(let text):
            check(isLabel(text[...]), name, "`\(text)` is no port name", mend: TextRule.portName.mend)
        case nil: break
        }
        return port
    }

    mutating func requiredPortOrName(_ name: String) -> IntOrString {
        if let value = portOrName(name) { return value }
        if !has(name) { failMissing(name) }
        return .number(1)
    }

    /// A duration that is not negative. - Parameter least: the shortest that makes sense.
    mutating func duration(_ name: String, least: Duration = .zero, _ form: DurationForm = .istio) -> Duration? {
        guard let text: String = optional(name) else { return nil }
        guard let value = parseDuration(text, form) else {
            fail(.invalidValue, name, "`\(excerpt(text))` is no duration", mend: form.mend)
            return nil
        }
        check(
            value >= least, name, "\(excerpt(text)) is shorter than \(durationText(least))",
            mend: "write at least \(durationText(least))")
        return value
    }

    mutating func text(_ name: String, _ rule: TextRule) -> String? {
        guard let text: String = optional(name) else { return nil }
        if let fault = rule.fault(text) { fail(.invalidValue, name, fault, mend: rule.mend) }
        return text
    }

    mutating func requiredText(_ name: String, _ rule: TextRule = .notEmpty) -> String {
        if let text = text(name, rule) { return text }
        if !has(name) { failMissing(name) }
        return ""
    }

    mutating func texts(_ name: String, _ rule: TextRule, atLeastOne: Bool = false) -> [String] {
        let texts: [String] = list(name, atLeastOne: atLeastOne)
        guard let nodes = node(name)?.elements else { return texts }
        for (index, node) in nodes.enumerated() {
            guard let text = node.text, let fault = rule.fault(text) else { continue }
            place.field(name).index(index).fail(.invalidValue, at: node.position, fault, mend: rule.mend)
        }
        return texts
    }

    /// Texts by text, both checked.
    mutating func map(_ name: String, keys: TextRule = .notEmpty, values: TextRule = .any) -> [String: String] {
        let map: [String: String] = value(name, default: [:])
        checkMap(name, keys: keys, values: values)
        return map
    }

    func checkMap(_ name: String, keys: TextRule, values: TextRule) {
        for member in node(name)?.members ?? [] {
            let place = place.field(name).key(member.key.text)
            if let fault = keys.fault(member.key.text) {
                place.fail(.invalidValue, at: member.key.position, fault, mend: keys.mend)
            }
            if let text = member.value.text, let fault = values.fault(text) {
                place.fail(.invalidValue, at: member.value.position, fault, mend: values.mend)
            }
        }
    }

    // MARK: Rules between fields

    func fail(_ kind: MeshFinding.Kind, _ name: String, _ words: @autoclosure () -> String, mend: String) {
        place.field(name).fail(kind, at: node(name)?.position ?? position, words(), mend: mend)
    }

    func check(_ holds: Bool, _ name: String, _ words: @autoclosure () -> String, mend: @autoclosure () -> String) {
        if !holds { fail(.invalidValue, name, words(), mend: mend()) }
    }

    /// Fields that exclude each other.
    func atMostOne(_ names: String...) {
        let given = names.filter(has)
        guard given.count > 1 else { return }
        fail(
            .contradiction, given[1], "`\(given[0])` and `\(given[1])` exclude each other",
            mend: "keep one of `\(names.joined(separator: "`, `"))`")
    }

    func exactlyOne(_ names: String...) { exactlyOne(names) }

    func exactlyOne(_ names: [String]) {
        let given = names.filter(has)
        if given.isEmpty {
            let list = names.map { "`\($0)`" }.joined(separator: ", ")
            place.fail(.missingField, at: position, "none of \(list) is given", mend: "add one of them")
        } else if given.count > 1 {
            fail(
                .contradiction, given[1], "`\(given[0])` and `\(given[1])` exclude each other",
                mend: "keep one of `\(names.joined(separator: "`, `"))`")
        }
    }

    /// One more place where two fields contradict each other.
    func contradict(_ name: String, _ words: @autoclosure () -> String, mend: String) {
        fail(.contradiction, name, words(), mend: mend)
    }

    // MARK: The end

    /// Fields that are legal and mean nothing to a mesh: what is below them is not looked at.
    mutating func ignore(_ names: [String]) { known += names }

    /// Every field that nobody asked for is an error.
    func refuseTheRest() {
        guard members.contains(where: { !known.contains($0.key.text) }) else { return }
        let names = Set(known)
        for member in members where !names.contains(member.key.text) {
            let name = member.key.text
            place.fail(
                .unknownField, at: member.key.position, "there is no field `\(excerpt(name))` here",
                mend: suggestion(for: name, among: known).map { "did you mean `\($0)`?" }
                    ?? "remove it; there is \(known.sorted().prefix(40).joined(separator: ", "))")
        }
    }
}

extension ClosedRange<Int> {
    /// `1 to 65535`
    fileprivate var words: String {
        upperBound == .max ? "\(lowerBound) or more" : "\(lowerBound) to \(upperBound)"
    }
}
