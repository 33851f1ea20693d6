extension GatewayAPI {
    public enum RouteFilter: Hashable, Sendable {
        case requestHeaders(HeaderChanges)
        case responseHeaders(HeaderChanges)
        case mirror(backend: ObjectReference, percentage: Double)
        case redirect(Redirect)
        case rewrite(Rewrite)
        case cors(CORS)
        case externalAuthorization(ExternalAuthorization)
        case `extension`(ObjectReference)

        public var isRedirect: Bool { if case .redirect = self { true } else { false } }
        public var isRewrite: Bool { if case .rewrite = self { true } else { false } }
    }

    public struct HeaderChanges: Hashable, Sendable {
        public struct Header: Hashable, Sendable {
            public var name: String
            public var value: String
        }

        public var set: [Header]
        public var add: [Header]
        public var remove: [String]
    }

    public enum PathModifier: Hashable, Sendable {
        case replaceFullPath(String)
        case replacePrefixMatch(String)
    }

    public struct Redirect: Hashable, Sendable {
        public var scheme: String?
        public var hostname: String?
        public var path: PathModifier?
        public var port: Int?
        public var code: Int
    }

    public struct Rewrite: Hashable, Sendable {
        public var hostname: String?
        public var path: PathModifier?
    }

    public struct CORS: Hashable, Sendable {
        /// `https://a.example`, with `*` for parts, or `*`.
        public var allowOrigins: [String]
        public var allowCredentials: Bool
        public var allowMethods: [String]
        public var allowHeaders: [String]
        public var exposeHeaders: [String]
        public var maxAge: Duration
    }

    public struct ExternalAuthorization: Hashable, Sendable {
        public enum Transport: String, NamedValue {
            case grpc = "GRPC"
            case http = "HTTP"
        }

        public var transport: Transport
        public var backend: ObjectReference
        public var allowedHeaders: [String]
        public var allowedResponseHeaders: [String]
        public var path: String?
        /// Bytes of the body; 0 sends none.
        public var maxBodySize: Int
    }
}

extension GatewayAPI.RouteFilter: ObjectPart {
    private enum Kind: String, NamedValue {
        case requestHeaders = "RequestHeaderModifier"
        case responseHeaders = "ResponseHeaderModifier"
        case mirror = "RequestMirror"
        case redirect = "RequestRedirect"
        case rewrite = "URLRewrite"
        case cors = "CORS"
        case externalAuthorization = "ExternalAuth"
        case `extension` = "ExtensionRef"

        var field: String {
            switch self {
            case .requestHeaders: "requestHeaderModifier"
            case .responseHeaders: "responseHeaderModifier"
            case .mirror: "requestMirror"
            case .redirect: "requestRedirect"
            case .rewrite: "urlRewrite"
            case .cors: "cors"
            case .externalAuthorization: "externalAuth"
            case .extension: "extensionRef"
            }
        }
    }

    private struct Mirror: ObjectPart {
        struct Fraction: ObjectPart {
            var numerator: Int
            var denominator: Int
            init(_ fields: inout ObjectFields) {
                numerator = fields.int("numerator", 0...Int(Int32.max)) ?? 0
                if !fields.has("numerator") { fields.failMissing("numerator") }
                denominator = fields.int("denominator", 1...Int(Int32.max)) ?? 100
                fields.check(
                    numerator <= denominator, "numerator", "it is more than the denominator", mend: "write a share")
            }
        }

        var backend: GatewayAPI.ObjectReference?
        var percentage: Double
        init(_ fields: inout ObjectFields) {
            backend = fields.optional("backendRef")
            if !fields.has("backendRef") { fields.failMissing("backendRef") }
            let percent = fields.int("percent", 0...100)
            let fraction: Fraction? = fields.optional("fraction")
            fields.atMostOne("percent", "fraction")
            percentage =
                fraction.map { Double($0.numerator) * 100 / Double($0.denominator) } ?? Double(percent ?? 100)
        }
    }

    private struct Local: ObjectPart {
        var object: GatewayAPI.ObjectReference
        init(_ fields: inout ObjectFields) {
            object = GatewayAPI.ObjectReference(
                object: &fields, standardGroup: "", standardKind: "", takesPort: false)
        }
    }

    private static let nowhere = GatewayAPI.ObjectReference(group: "", kind: "", name: "")

    init(_ fields: inout ObjectFields) {
        let kind: Kind = fields.required("type", .requestHeaders)
        let request: GatewayAPI.HeaderChanges? = fields.optional(Kind.requestHeaders.field)
        let response: GatewayAPI.HeaderChanges? = fields.optional(Kind.responseHeaders.field)
        let mirror: Mirror? = fields.optional(Kind.mirror.field)
        let redirect: GatewayAPI.Redirect? = fields.optional(Kind.redirect.field)
        let rewrite: GatewayAPI.Rewrite? = fields.optional(Kind.rewrite.field)
        let cors: GatewayAPI.CORS? = fields.optional(Kind.cors.field)
        let authorization: GatewayAPI.ExternalAuthorization? = fields.optional(Kind.externalAuthorization.field)
        let local: Local? = fields.optional(Kind.extension.field)
        if fields.has("type") {
            if !fields.has(kind.field) { fields.failMissing(kind.field) }
            for other in Kind.allCases where other != kind && fields.has(other.field) {
                fields.contradict(other.field, "the filter's type is \(kind.rawValue)", mend: "remove it")
            }
        }
        switch kind {
        case .requestHeaders: self = .requestHeaders(request ?? GatewayAPI.HeaderChanges(set: [], add: [], remove: []))
        case .responseHeaders:
            self = .responseHeaders(response ?? GatewayAPI.HeaderChanges(set: [], add: [], remove: []))
        case .mirror: self = .mirror(backend: mirror?.backend ?? Self.nowhere, percentage: mirror?.percentage ?? 0)
        case .redirect: self = .redirect(redirect ?? GatewayAPI.Redirect(code: 302))
        case .rewrite: self = .rewrite(rewrite ?? GatewayAPI.Rewrite())
        case .cors:
            self = .cors(
                cors
                    ?? GatewayAPI.CORS(
                        allowOrigins: [], allowCredentials: false, allowMethods: [], allowHeaders: [],
                        exposeHeaders: [], maxAge: .zero))
        case .externalAuthorization:
            self = authorization.map { .externalAuthorization($0) } ?? .extension(Self.nowhere)
        case .extension: self = .extension(local?.object ?? Self.nowhere)
        }
    }
}

extension GatewayAPI {
    /// Filters that exclude each other, and rewrites of a prefix that no match has.
    /// - Parameter matches: nil where there are no paths.
    static func checkFilters(_ filters: [RouteFilter], _ matches: [HTTPMatch]?, _ fields: ObjectFields) {
        if filters.contains(where: \.isRedirect), filters.contains(where: \.isRewrite) {
            fields.contradict("filters", "a redirect and a rewrite exclude each other", mend: "keep one of them")
        }
        if filters.count > 16 {
            fields.fail(.tooMuch, "filters", "\(filters.count) filters, 16 are allowed", mend: "split the rule")
        }
        for filter in filters {
            let path: PathModifier?
            switch filter {
            case .redirect(let redirect): path = redirect.path
            case .rewrite(let rewrite): path = rewrite.path
            default:
                if matches == nil, case .cors = filter {
                    fields.fail(.invalidValue, "filters", "a GRPCRoute takes no CORS filter", mend: "remove it")
                }
                continue
            }
            if matches == nil {
                fields.fail(.invalidValue, "filters", "a GRPCRoute neither redirects nor rewrites", mend: "remove it")
            }
            guard case .replacePrefixMatch = path, let matches else { continue }
            let havePrefixes = matches.allSatisfy { if case .prefix = $0.path { true } else { false } }
            if !havePrefixes {
                fields.contradict(
                    "filters", "ReplacePrefixMatch needs matches of type PathPrefix", mend: "change the matches")
            }
        }
    }
}

extension GatewayAPI.HeaderChanges: ObjectPart {
    init(_ fields: inout ObjectFields) {
        set = fields.list("set")
        add = fields.list("add")
        remove = fields.texts("remove", .headerName)
        for (name, count) in [("set", set.count), ("add", add.count), ("remove", remove.count)] where count > 16 {
            fields.fail(.tooMuch, name, "\(count) headers, 16 are allowed", mend: "write another filter")
        }
    }
}

extension GatewayAPI.HeaderChanges.Header: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .headerName)
        value = fields.required("value", "")
    }
}

extension GatewayAPI.PathModifier: ObjectPart {
    private enum Kind: String, NamedValue {
        case full = "ReplaceFullPath"
        case prefix = "ReplacePrefixMatch"
    }

    init(_ fields: inout ObjectFields) {
        let kind: Kind = fields.required("type", .full)
        let full: String? = fields.optional("replaceFullPath")
        let prefix: String? = fields.optional("replacePrefixMatch")
        fields.exactlyOne("replaceFullPath", "replacePrefixMatch")
        if fields.has("type"), (kind == .full) != fields.has("replaceFullPath") {
            fields.contradict("type", "it is \(kind.rawValue), and the other field is written", mend: "make them agree")
        }
        self = full.map { .replaceFullPath($0) } ?? .replacePrefixMatch(prefix ?? "/")
    }
}

extension GatewayAPI.Redirect: ObjectPart {
    init(_ fields: inout ObjectFields) {
        scheme = fields.text(
            "scheme",
            TextRule(mend: "write http or https") {
                ["http", "https"].contains($0) ? nil : "`\($0.prefix(20))` is no scheme of HTTP"
            })
        hostname = fields.text("hostname", .hostName)
        path = fields.optional("path")
        port = fields.port("port")
        code = fields.value("statusCode", default: 302)
        fields.check(
            [301, 302, 303, 307, 308].contains(code), "statusCode", "\(code) is no code of a redirect",
            mend: "write 301, 302, 303, 307 or 308")
    }
}

extension GatewayAPI.Rewrite: ObjectPart {
    init(_ fields: inout ObjectFields) {
        hostname = fields.text("hostname", .hostName)
        path = fields.optional("path")
    }
}

extension GatewayAPI.CORS: ObjectPart {
    init(_ fields: inout ObjectFields) {
        allowOrigins = fields.texts("allowOrigins", .notEmpty)
        allowCredentials = fields.value("allowCredentials", default: false)
        allowMethods = fields.texts("allowMethods", .headerName)
        allowHeaders = fields.texts("allowHeaders", .headerName)
        exposeHeaders = fields.texts("exposeHeaders", .headerName)
        maxAge = .seconds(fields.int("maxAge", 1...Int(Int32.max)) ?? 5)
    }
}

extension GatewayAPI.ExternalAuthorization: ObjectPart {
    private struct Settings: ObjectPart {
        var path: String?
        var allowedHeaders: [String]
        var allowedResponseHeaders: [String]
        init(_ fields: inout ObjectFields) {
            path = fields.text("path", .path)
            allowedHeaders = fields.texts("allowedHeaders", .headerName)
            allowedResponseHeaders = fields.texts("allowedResponseHeaders", .headerName)
        }
    }

    private struct Body: ObjectPart {
        var maxSize: Int
        init(_ fields: inout ObjectFields) { maxSize = fields.int("maxSize", 0...Int(Int32.max)) ?? 0 }
    }

    init(_ fields: inout ObjectFields) {
        transport = fields.required("protocol", .grpc)
        let backend: GatewayAPI.ObjectReference? = fields.optional("backendRef")
        if !fields.has("backendRef") { fields.failMissing("backendRef") }
        self.backend = backend ?? GatewayAPI.ObjectReference(group: "", kind: "", name: "")
        let grpc: Settings? = fields.optional("grpc")
        let http: Settings? = fields.optional("http")
        let body: Body? = fields.optional("forwardBody")
        let settings = transport == .grpc ? grpc : http
        let other = transport == .grpc ? "http" : "grpc"
        if fields.has(other) {
            fields.contradict(other, "the protocol is \(transport.rawValue)", mend: "remove it")
        }
        allowedHeaders = settings?.allowedHeaders ?? []
        allowedResponseHeaders = settings?.allowedResponseHeaders ?? []
        path = settings?.path
        maxBodySize = body?.maxSize ?? 0
    }
}
