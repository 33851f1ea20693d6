/// The objects of Kubernetes' Gateway API. Source: gateway.networking.k8s.io/v1.
public enum GatewayAPI {
    /// The group of its own kinds.
    public static let group = "gateway.networking.k8s.io"

    /// What a route hangs on: a Gateway, or a Service for calls within the mesh.
    public struct ParentReference: Hashable, Sendable {
        public var group: String
        public var kind: String
        /// Nil is the route's own.
        public var namespace: String?
        public var name: String
        /// A listener's, or a Service port's name.
        public var section: String?
        public var port: Int?

        public var isGateway: Bool { group == GatewayAPI.group && kind == "Gateway" }
        public var isService: Bool { group.isEmpty && kind == "Service" }
    }

    /// An object that a route or a gateway needs.
    public struct ObjectReference: Hashable, Sendable {
        public var group: String
        public var kind: String
        /// Nil is the referring object's own.
        public var namespace: String?
        public var name: String
        /// Of a Service.
        public var port: Int?
    }

    public struct BackendReference: Hashable, Sendable {
        public var object: ObjectReference
        /// A share of the sum; 1 where none is written, 0 takes nothing.
        public var weight: Int
        public var filters: [RouteFilter]
    }

    /// Sessions that stay with an endpoint.
    public struct SessionPersistence: Hashable, Sendable {
        public enum Kind: String, NamedValue {
            case cookie = "Cookie"
            case header = "Header"
        }

        public enum Lifetime: String, NamedValue {
            case session = "Session"
            case permanent = "Permanent"
        }

        public var kind: Kind
        /// Of the cookie or header; nil is ours to choose.
        public var name: String?
        public var cookiePath: String?
        public var lifetime: Lifetime
        public var absoluteTimeout: Duration?
    }
}

extension GatewayAPI.ParentReference: ObjectPart {
    init(_ fields: inout ObjectFields) {
        group = fields.value("group", default: GatewayAPI.group)
        kind = fields.value("kind", default: "Gateway")
        namespace = fields.text("namespace", .label)
        name = fields.requiredText("name", .subdomain)
        section = fields.text("sectionName", .subdomain)
        port = fields.port("port")
        fields.check(
            isGateway || isService, "kind", "nothing hangs on a \(kind) here",
            mend: "write a Gateway, or kind: Service with group: \"\"")
    }
}

extension GatewayAPI.ObjectReference: ObjectPart {
    init(_ fields: inout ObjectFields) {
        self.init(object: &fields, standardGroup: "", standardKind: "Service")
    }

    /// - Parameter standardKind: empty where the kind must be written.
    init(object fields: inout ObjectFields, standardGroup: String, standardKind: String, takesPort: Bool = true) {
        group = fields.value("group", default: standardGroup)
        kind = standardKind.isEmpty ? fields.requiredText("kind") : fields.value("kind", default: standardKind)
        namespace = fields.text("namespace", .label)
        name = fields.requiredText("name", .subdomain)
        port = takesPort ? fields.port("port") : nil
    }
}

extension GatewayAPI.BackendReference: ObjectPart {
    init(_ fields: inout ObjectFields) {
        object = GatewayAPI.ObjectReference(object: &fields, standardGroup: "", standardKind: "Service")
        if object.group.isEmpty, object.kind == "Service", !fields.has("port") { fields.failMissing("port") }
        weight = fields.int("weight", 0...1_000_000) ?? 1
        filters = fields.list("filters")
    }
}

/// A reference to a Secret, with its standard kind.
struct SecretReference: ObjectPart {
    var object: GatewayAPI.ObjectReference

    init(_ fields: inout ObjectFields) {
        object = GatewayAPI.ObjectReference(
            object: &fields, standardGroup: "", standardKind: "Secret", takesPort: false)
    }
}

extension GatewayAPI.SessionPersistence: ObjectPart {
    private struct Cookie: ObjectPart {
        var name: String?
        var path: String?
        var lifetime: GatewayAPI.SessionPersistence.Lifetime
        init(_ fields: inout ObjectFields) {
            name = fields.text("name", .headerName)
            path = fields.text("path", .path)
            lifetime = fields.value("lifetimeType", default: .session)
        }
    }

    private struct Header: ObjectPart {
        var name: String
        init(_ fields: inout ObjectFields) { name = fields.requiredText("name", .headerName) }
    }

    init(_ fields: inout ObjectFields) {
        kind = fields.value("type", default: .cookie)
        absoluteTimeout = fields.duration("absoluteTimeout", .gatewayAPI)
        let old = fields.text("sessionName", .headerName)
        let cookie: Cookie? = fields.optional("cookie")
        let header: Header? = fields.optional("header")
        let oldCookie: Cookie? = fields.optional("cookieConfig")
        fields.atMostOne("cookie", "header", "cookieConfig")
        name = cookie?.name ?? header?.name ?? oldCookie?.name ?? old
        cookiePath = cookie?.path
        lifetime = cookie?.lifetime ?? oldCookie?.lifetime ?? .session
        if lifetime == .permanent, absoluteTimeout == nil, !fields.has("absoluteTimeout") {
            fields.failMissing("absoluteTimeout")
        }
        let idle = fields.duration("idleTimeout", .gatewayAPI)
        if idle != nil {
            fields.fail(.invalidValue, "idleTimeout", "no proxy has it", mend: "write `absoluteTimeout`")
        }
    }
}
