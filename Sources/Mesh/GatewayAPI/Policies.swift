extension GatewayAPI {
    /// TLS from gateways to some Services.
    public struct BackendTLSPolicy: Hashable, Sendable {
        public struct Target: Hashable, Sendable {
            public var group: String
            public var kind: String
            public var name: String
            /// The name of a Service's port; nil is all.
            public var section: String?
        }

        public enum SubjectAltName: Hashable, Sendable {
            case hostname(String)
            case uri(String)
        }

        public var targets: [Target]
        public var roots: [ObjectReference]
        /// The roots of the gateway's machine.
        public var usesSystemRoots: Bool
        /// Server name, and what the certificate must say where no other names are written.
        public var hostname: String
        public var subjectAltNames: [SubjectAltName]
    }

    /// Objects of other namespaces that may refer to objects of this one.
    public struct ReferenceGrant: Hashable, Sendable {
        public struct From: Hashable, Sendable {
            public var group: String
            public var kind: String
            public var namespace: String
        }

        public struct To: Hashable, Sendable {
            public var group: String
            public var kind: String
            /// Nil is all of the kind.
            public var name: String?
        }

        public var from: [From]
        public var to: [To]
    }
}

extension GatewayAPI.BackendTLSPolicy: ObjectPart {
    private struct Validation: ObjectPart {
        enum WellKnown: String, NamedValue {
            case system = "System"
        }

        struct Local: ObjectPart {
            var object: GatewayAPI.ObjectReference
            init(_ fields: inout ObjectFields) {
                object = GatewayAPI.ObjectReference(
                    object: &fields, standardGroup: "", standardKind: "", takesPort: false)
            }
        }

        var roots: [Local]
        var wellKnown: WellKnown?
        var hostname: String
        var names: [GatewayAPI.BackendTLSPolicy.SubjectAltName]
        init(_ fields: inout ObjectFields) {
            roots = fields.list("caCertificateRefs")
            wellKnown = fields.optional("wellKnownCACertificates")
            fields.exactlyOne("caCertificateRefs", "wellKnownCACertificates")
            hostname = fields.requiredText("hostname", .hostName)
            names = fields.list("subjectAltNames")
        }
    }

    init(_ fields: inout ObjectFields) {
        targets = fields.list("targetRefs", atLeastOne: true)
        let validation: Validation? = fields.optional("validation")
        if !fields.has("validation") { fields.failMissing("validation") }
        roots = validation?.roots.map(\.object) ?? []
        usesSystemRoots = validation?.wellKnown == .system
        hostname = validation?.hostname ?? ""
        subjectAltNames = validation?.names ?? []
        _ = fields.map("options")
    }
}

extension GatewayAPI.BackendTLSPolicy.Target: ObjectPart {
    init(_ fields: inout ObjectFields) {
        group = fields.required("group", "")
        kind = fields.requiredText("kind")
        name = fields.requiredText("name", .subdomain)
        section = fields.text("sectionName", .subdomain)
        fields.check(
            !fields.has("kind") || (group.isEmpty && kind == "Service"), "kind", "it is for Services, not for \(kind)",
            mend: "write group: \"\" and kind: Service")
    }
}

extension GatewayAPI.BackendTLSPolicy.SubjectAltName: ObjectPart {
    private enum Kind: String, NamedValue {
        case hostname = "Hostname"
        case uri = "URI"
    }

    init(_ fields: inout ObjectFields) {
        let kind: Kind = fields.required("type", .hostname)
        let hostname = fields.text("hostname", .gatewayHostname)
        let uri = fields.text("uri", .notEmpty)
        fields.exactlyOne("hostname", "uri")
        if fields.has("type"), (kind == .hostname) != fields.has("hostname") {
            fields.contradict("type", "it is \(kind.rawValue), and the other field is written", mend: "make them agree")
        }
        self = uri.map { .uri($0) } ?? .hostname(hostname ?? "")
    }
}

extension GatewayAPI.ReferenceGrant: ObjectPart {
    init(_ fields: inout ObjectFields) {
        from = fields.list("from", atLeastOne: true)
        to = fields.list("to", atLeastOne: true)
    }
}

extension GatewayAPI.ReferenceGrant.From: ObjectPart {
    init(_ fields: inout ObjectFields) {
        group = fields.required("group", "")
        kind = fields.requiredText("kind")
        namespace = fields.requiredText("namespace", .label)
    }
}

extension GatewayAPI.ReferenceGrant.To: ObjectPart {
    init(_ fields: inout ObjectFields) {
        group = fields.required("group", "")
        kind = fields.requiredText("kind")
        name = fields.text("name", .subdomain)
    }
}
