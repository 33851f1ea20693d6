import Documents

/// Something about an object that its user should know: an error keeps it from being applied, a warning is shown on it.
public struct MeshFinding: Error, Hashable, Sendable {
    public enum Severity: String, Hashable, Sendable, Comparable {
        case warning
        case error

        public static func < (left: Severity, right: Severity) -> Bool { left == .warning && right == .error }
    }

    public enum Kind: String, Hashable, Sendable, CaseIterable {
        // Found in one object alone.
        case syntax, unknownKind, unknownField, missingField, wrongType, invalidValue, contradiction, tooMuch
        /// A field that is understood and not acted on.
        case unsupportedField
        // Found between objects.
        case duplicateObject, unknownHost, unknownPort, unknownSubset, unknownGateway, unknownSecret, unknownObject
        case gatewayNobodyRuns, hostClaimedTwice, delegateCycle, shadowedRule, duplicateName, referenceNotGranted
        case locksOutEverybody, selectsNothing, conflictingPolicy, refusedByParent

        /// Whether it is about something that another object should provide: it mends itself when that object comes,
        /// so such findings are warnings unless the user asks for errors.
        public var isReference: Bool {
            switch self {
            case .unknownHost, .unknownPort, .unknownSubset, .unknownGateway, .unknownSecret, .unknownObject,
                .gatewayNobodyRuns, .selectsNothing:
                true
            case .syntax, .unknownKind, .unknownField, .missingField, .wrongType, .invalidValue, .contradiction,
                .tooMuch, .unsupportedField, .duplicateObject, .hostClaimedTwice, .delegateCycle, .shadowedRule,
                .duplicateName, .referenceNotGranted, .locksOutEverybody, .conflictingPolicy, .refusedByParent:
                false
            }
        }
    }

    public var severity: Severity
    public var kind: Kind
    /// The object that it is about; nil where the text did not get as far as to name one.
    public var object: ObjectKey?
    /// The name that the caller gave for the text, if any.
    public var file: String?
    /// In the text; nil where there is no text.
    public var position: SourcePosition?
    /// `spec.http[0].route[1].weight`, empty for the object itself.
    public var path: String
    /// What is wrong, one sentence without a full stop.
    public var words: String
    /// What to do about it.
    public var mend: String

    public init(
        _ severity: Severity, _ kind: Kind, object: ObjectKey?, file: String?, position: SourcePosition?,
        path: String, _ words: String, mend: String
    ) {
        self.severity = severity
        self.kind = kind
        self.object = object
        self.file = file
        self.position = position
        self.path = path
        self.words = words
        self.mend = mend
    }
}

extension MeshFinding: CustomStringConvertible {
    /// `reviews.yaml:12:7: VirtualService default/reviews: spec.http[0].route[1].weight: -1 is …; write …`
    public var description: String {
        let place = [file, position.map { "\($0.line):\($0.column)" }].compactMap { $0 }.joined(separator: ":")
        let parts = [place, object.map { "\($0)" } ?? "", path, words].filter { !$0.isEmpty }
        return parts.joined(separator: ": ") + (mend.isEmpty ? "" : "; " + mend)
    }
}

extension MeshFinding: Comparable {
    /// By file, line and path: the order in which a person mends them.
    public static func < (left: MeshFinding, right: MeshFinding) -> Bool {
        if left.file != right.file { return (left.file ?? "") < (right.file ?? "") }
        let (one, other) = (left.position, right.position)
        if one?.line != other?.line { return (one?.line ?? 0) < (other?.line ?? 0) }
        if one?.column != other?.column { return (one?.column ?? 0) < (other?.column ?? 0) }
        if left.object != right.object {
            guard let object = left.object, let another = right.object else { return left.object == nil }
            return object < another
        }
        return (left.path, left.words) < (right.path, right.words)
    }
}

/// Why a text is not applied: everything that is wrong with it, up to ``limit``.
public struct ObjectErrors: Error, Hashable, Sendable, CustomStringConvertible {
    /// Errors of one text that are told one by one.
    public static let limit = 50

    public var findings: [MeshFinding]
    /// How many more there are.
    public var omitted: Int

    public init(_ findings: [MeshFinding], omitted: Int = 0) {
        self.findings = findings
        self.omitted = omitted
    }

    public var description: String {
        (findings.map(\.description) + (omitted == 0 ? [] : ["and \(omitted) more"])).joined(separator: "\n")
    }
}
