import Documents

extension Istio {
    /// What mutual TLS workloads ask of their clients.
    public struct PeerAuthentication: Hashable, Sendable {
        public enum Mode: String, NamedValue {
            /// As the namespace, or the mesh, says.
            case unset = "UNSET"
            case disable = "DISABLE"
            /// Both plaintext and mutual TLS.
            case permissive = "PERMISSIVE"
            case strict = "STRICT"
        }

        public var selector: WorkloadSelector?
        public var mode: Mode
        /// By the workload's port.
        public var ports: [Int: Mode]
    }

    /// Which tokens requests may bring.
    public struct RequestAuthentication: Hashable, Sendable {
        public var scope: PolicyScope
        public var rules: [JWTRule]
    }

    public struct JWTRule: Hashable, Sendable {
        public struct Header: Hashable, Sendable {
            public var name: String
            public var prefix: String?
        }

        public struct ClaimHeader: Hashable, Sendable {
            public var header: String
            public var claim: String
        }

        public var issuer: String
        public var audiences: [String]
        public var jwksURI: String?
        public var jwks: String?
        /// Empty, with parameters and cookies empty too: `Authorization: Bearer` and `access_token`.
        public var fromHeaders: [Header]
        public var fromParameters: [String]
        public var fromCookies: [String]
        public var payloadHeader: String?
        public var forwardsOriginalToken: Bool
        public var claimHeaders: [ClaimHeader]
        public var timeout: Duration?
        /// Claims that hold a list in one text, as `scope` does.
        public var spaceDelimitedClaims: [String]
    }

    /// How the proxies of some workloads run; nothing in it is acted on here, see ``FieldSupport``.
    public struct ProxyConfig: Hashable, Sendable {
        public var selector: WorkloadSelector?
        public var concurrency: Int?
        public var environment: [String: String]
        public var imageType: String?
    }
}

extension Istio.PeerAuthentication: ObjectPart {
    private struct MutualTLS: ObjectPart {
        var mode: Mode

        init(_ fields: inout ObjectFields) { mode = fields.value("mode", default: .unset) }
    }

    init(_ fields: inout ObjectFields) {
        selector = fields.optional("selector")
        let mutualTLS: MutualTLS? = fields.optional("mtls")
        mode = mutualTLS?.mode ?? .unset
        let byPort: [String: MutualTLS] = fields.value("portLevelMtls", default: [:])
        ports = [:]
        for (text, value) in byPort.sorted(by: { $0.key < $1.key }) {
            guard let port = Int(text), (1...65_535).contains(port) else {
                fields.fail(.invalidValue, "portLevelMtls", "`\(excerpt(text))` is no port", mend: "write 1 to 65535")
                continue
            }
            ports[port] = value.mode
        }
        if !ports.isEmpty, selector?.labels.isEmpty ?? true {
            fields.contradict(
                "portLevelMtls", "ports are those of workloads, and none is selected",
                mend: "add `selector:` with labels")
        }
    }
}

extension Istio.RequestAuthentication: ObjectPart {
    init(_ fields: inout ObjectFields) {
        scope = Istio.PolicyScope(&fields)
        rules = fields.list("jwtRules")
    }
}

extension Istio.JWTRule: ObjectPart {
    init(_ fields: inout ObjectFields) {
        issuer = fields.requiredText("issuer")
        audiences = fields.texts("audiences", .notEmpty)
        jwksURI = fields.text("jwksUri", Self.uri)
        jwks = fields.text("jwks", Self.keySet)
        fromHeaders = fields.list("fromHeaders")
        fromParameters = fields.texts("fromParams", .notEmpty)
        fromCookies = fields.texts("fromCookies", .headerName)
        payloadHeader = fields.text("outputPayloadToHeader", .headerName)
        forwardsOriginalToken = fields.value("forwardOriginalToken", default: false)
        claimHeaders = fields.list("outputClaimToHeaders")
        timeout = fields.duration("timeout", least: .milliseconds(1))
        spaceDelimitedClaims = fields.texts("spaceDelimitedClaims", .notEmpty)
        fields.atMostOne("jwksUri", "jwks")
        if !fields.has("jwksUri"), !fields.has("jwks") {
            fields.place.fail(
                .missingField, at: fields.position, "there are no keys to check tokens with",
                mend: "add `jwks:` or `jwksUri:`; an issuer's well-known address is not asked")
        }
    }

    private static let uri = TextRule(mend: "write https:// or http:// and a host") { text in
        let isURI = text.hasPrefix("https://") || text.hasPrefix("http://")
        return isURI && text.utf8.count > 8 ? nil : "`\(excerpt(text))` is no address of keys"
    }

    /// A JSON Web Key Set holds a list `keys`. Source: RFC 7517, section 5.
    private static let keySet = TextRule(mend: "write the JSON of a key set: {\"keys\": […]}") { text in
        guard let node = try? DocumentNode.parseJSON(text), let keys = node["keys"]?.elements, !keys.isEmpty else {
            return "it is no JSON Web Key Set"
        }
        return nil
    }
}

extension Istio.JWTRule.Header: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .headerName)
        prefix = fields.optional("prefix")
    }
}

extension Istio.JWTRule.ClaimHeader: ObjectPart {
    init(_ fields: inout ObjectFields) {
        header = fields.requiredText("header", .headerName)
        claim = fields.requiredText("claim")
    }
}

extension Istio.ProxyConfig: ObjectPart {
    private struct Image: ObjectPart {
        var type: String?
        init(_ fields: inout ObjectFields) { type = fields.optional("imageType") }
    }

    init(_ fields: inout ObjectFields) {
        selector = fields.optional("selector")
        concurrency = fields.int("concurrency", 0...1024)
        environment = fields.map("environmentVariables")
        let image: Image? = fields.optional("image")
        imageType = image?.type
    }
}
