import Documents
import EnvoyAPI
import Mesh
import Protobuf
import Translation

/// What this controller says of a part of an object of the Gateway API. Source: martinet.control.v1.ObjectCondition.
public struct ObjectCondition: Hashable, Sendable, CustomStringConvertible {
    /// `listener http`, `parent Gateway default/web`; empty for the object itself.
    public var about: String
    /// `Accepted`
    public var type: String
    public var holds: Bool
    /// A word of the specification.
    public var reason: String
    /// For people.
    public var message: String

    init(_ message: ControlObjectCondition) {
        (about, type, reason) = (message.about.string, message.type.string, message.reason.string)
        (holds, self.message) = (message.holds != 0, message.message.string)
    }

    init(_ condition: Condition, about: String = "") {
        self.about = about
        (type, holds, reason) = (condition.kind.rawValue, condition.isTrue, condition.reason)
        message = condition.message
    }

    func message(in arena: Arena) -> UnsafeMutablePointer<ControlObjectCondition> {
        arena.make {
            ($0.about, $0.type) = (arena(about.withoutNUL), arena(type.withoutNUL))
            $0.set(holds: holds)
            ($0.reason, $0.message) = (arena(reason.withoutNUL), arena(message.withoutNUL))
        }
    }

    /// `Accepted: False (NotAllowedByListeners) for parent Gateway default/web: no listener …`
    public var description: String {
        "\(type): \(holds ? "True" : "False")" + (reason == type ? "" : " (\(reason))")
            + (about.isEmpty ? "" : " for \(about)") + (message.isEmpty ? "" : ": \(message)")
    }
}

/// The status of an object of the Gateway API that this controller answers for.
struct ObjectStatus {
    var conditions: [ObjectCondition]
    /// What Kubernetes has below `status:`.
    var document: DocumentNode

    /// nil for other objects.
    init?(of object: MeshObject, _ translator: Translator) {
        if let condition = translator.classCondition(of: object) {
            conditions = [ObjectCondition(condition)]
            document = .fields([("conditions", .conditions([condition]))])
        } else if let status = translator.gatewayStatus(of: object) {
            conditions = status.conditions.map { ObjectCondition($0) }
            for listener in status.listeners {
                conditions += listener.conditions.map { ObjectCondition($0, about: "listener \(listener.name)") }
            }
            document = .fields([
                ("conditions", .conditions(status.conditions)), ("listeners", .list(status.listeners.map(\.node))),
            ])
        } else if case let ancestors = translator.ancestorStatuses(of: object), !ancestors.isEmpty {
            conditions = ancestors.flatMap { status in
                let place = status.target.section.map { " \($0)" } ?? ""
                return status.conditions.map { condition in
                    ObjectCondition(
                        condition, about: "Service \(object.key.namespace)/\(status.target.name)\(place)")
                }
            }
            document = .fields([("ancestors", .list(ancestors.map(\.node)))])
        } else {
            let parents = translator.parentStatuses(of: object)
            guard !parents.isEmpty else { return nil }
            conditions = parents.flatMap { status in
                status.conditions.map { ObjectCondition($0, about: "parent \(status.parent.words(from: object.key))") }
            }
            document = .fields([("parents", .list(parents.map(\.node)))])
        }
    }
}

extension GatewayAPI.ParentReference {
    fileprivate func words(from key: ObjectKey) -> String {
        let place = section.map { " \($0)" } ?? port.map { " port \($0)" } ?? ""
        return "\(kind) \(namespace ?? key.namespace)/\(name)\(place)"
    }
}

extension GatewayStatus.Listener {
    fileprivate var node: DocumentNode {
        .fields([
            ("name", .text(name)), ("attachedRoutes", .scalar(DocumentScalar("\(attachedRoutes)", .number))),
            (
                "supportedKinds",
                .list(supportedKinds.map { .fields([("group", .text($0.group)), ("kind", .text($0.name))]) })
            ),
            ("conditions", .conditions(conditions)),
        ])
    }
}

extension AncestorStatus {
    fileprivate var node: DocumentNode {
        var fields: [(String, DocumentNode)] = [
            ("group", .text(target.group)), ("kind", .text(target.kind)), ("name", .text(target.name)),
        ]
        if let section = target.section { fields.append(("sectionName", .text(section))) }
        return .fields([
            ("ancestorRef", .fields(fields)), ("controllerName", .text(GatewayAPI.GatewayClass.ours)),
            ("conditions", .conditions(conditions)),
        ])
    }
}

extension ParentStatus {
    fileprivate var node: DocumentNode {
        var fields: [(String, DocumentNode)] = [
            ("group", .text(parent.group)), ("kind", .text(parent.kind)), ("name", .text(parent.name)),
        ]
        if let namespace = parent.namespace { fields.append(("namespace", .text(namespace))) }
        if let section = parent.section { fields.append(("sectionName", .text(section))) }
        if let port = parent.port { fields.append(("port", .scalar(DocumentScalar("\(port)", .number)))) }
        return .fields([
            ("controllerName", .text(GatewayAPI.GatewayClass.ours)), ("parentRef", .fields(fields)),
            ("conditions", .conditions(conditions)),
        ])
    }
}

extension DocumentNode {
    private static let start = SourcePosition(line: 1, column: 1)

    fileprivate static func text(_ text: String) -> DocumentNode { .scalar(DocumentScalar(text, .quoted)) }
    fileprivate static func list(_ elements: [DocumentNode]) -> DocumentNode { .sequence(elements, at: start) }
    fileprivate static func fields(_ fields: [(String, DocumentNode)]) -> DocumentNode {
        .mapping(fields.map { Member(key: DocumentScalar($0.0, .quoted), value: $0.1) }, at: start)
    }
    fileprivate static func conditions(_ list: [Condition]) -> DocumentNode {
        .list(
            list.map { condition in
                .fields([
                    ("type", .text(condition.kind.rawValue)), ("status", .text(condition.isTrue ? "True" : "False")),
                    ("reason", .text(condition.reason)), ("message", .text(condition.message)),
                ])
            })
    }
}
