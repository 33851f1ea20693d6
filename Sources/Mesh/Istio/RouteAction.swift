import Documents

extension Istio {
    /// 0 to 100, fractions allowed.
    struct Percentage: ObjectPart {
        var value: Double

        init(_ fields: inout ObjectFields) { value = fields.number("value", 0...100) ?? 0 }
    }

    public struct HTTPRedirect: Hashable, Sendable {
        public enum Port: Hashable, Sendable {
            case number(Int)
            /// 80 or 443, as the scheme wants it.
            case ofScheme
            case ofRequest
        }

        public var uri: String?
        public var prefixRewrite: String?
        public var authority: String?
        public var port: Port?
        public var scheme: String?
        /// 301, 302, 303, 307 or 308.
        public var code: Int
    }

    public struct HTTPDirectResponse: Hashable, Sendable {
        public var status: Int
        public var body: [UInt8]?
    }

    public struct HTTPRewrite: Hashable, Sendable {
        /// Replaces the path, or the prefix that matched.
        public var uri: String?
        public var authority: String?
        public var regex: RegexRewrite?
    }

    public struct RegexRewrite: Hashable, Sendable {
        /// RE2.
        public var match: String
        /// With `\1` for groups.
        public var rewrite: String
    }

    public struct HTTPRetry: Hashable, Sendable {
        /// 0 switches retries off.
        public var attempts: Int
        public var perTryTimeout: Duration?
        /// Envoy's conditions, and status codes; nil is Istio's standard.
        public var retryOn: String?
        public var retriesRemoteLocalities: Bool?
        public var ignoresPreviousHosts: Bool?
        public var backoff: Duration?
    }

    public struct HTTPFault: Hashable, Sendable {
        public enum Error: Hashable, Sendable {
            case http(Int)
            case grpc(String)
        }

        public struct Delay: Hashable, Sendable {
            public var fixed: Duration
            /// Percent of requests.
            public var percentage: Double
        }

        public struct Abort: Hashable, Sendable {
            public var error: Error
            public var percentage: Double
        }

        public var delay: Delay?
        public var abort: Abort?
    }

    public struct HTTPMirror: Hashable, Sendable {
        public var destination: Destination
        /// Percent of requests.
        public var percentage: Double
    }

    public struct CORSPolicy: Hashable, Sendable {
        public enum UnmatchedPreflights: String, NamedValue {
            case unspecified = "UNSPECIFIED"
            case forward = "FORWARD"
            case ignore = "IGNORE"
        }

        public var allowOrigins: [StringMatch]
        public var allowMethods: [String]
        public var allowHeaders: [String]
        public var exposeHeaders: [String]
        public var maxAge: Duration?
        public var allowCredentials: Bool?
        public var unmatchedPreflights: UnmatchedPreflights
    }

    public struct HeaderChanges: Hashable, Sendable {
        public struct Operations: Hashable, Sendable {
            public var set: [String: String] = [:]
            public var add: [String: String] = [:]
            public var remove: [String] = []

            public var isEmpty: Bool { self.set.isEmpty && add.isEmpty && remove.isEmpty }
        }

        public var request = Operations()
        public var response = Operations()

        public var isEmpty: Bool { request.isEmpty && response.isEmpty }
    }
}

extension Istio.HTTPRedirect: ObjectPart {
    private enum DerivedPort: String, NamedValue {
        case ofScheme = "FROM_PROTOCOL_DEFAULT"
        case ofRequest = "FROM_REQUEST_PORT"
    }

    init(_ fields: inout ObjectFields) {
        uri = fields.text("uri", .notEmpty)
        prefixRewrite = fields.text("prefixRewrite", .notEmpty)
        authority = fields.text("authority", .notEmpty)
        let number = fields.port("port")
        let derived: DerivedPort? = fields.optional("derivePort")
        port = number.map { .number($0) } ?? derived.map { $0 == .ofScheme ? .ofScheme : .ofRequest }
        scheme = fields.text("scheme", .notEmpty)
        code = fields.value("redirectCode", default: 301)
        fields.atMostOne("port", "derivePort")
        fields.atMostOne("uri", "prefixRewrite")
        fields.check(
            [301, 302, 303, 307, 308].contains(code), "redirectCode", "\(code) is no code of a redirect",
            mend: "write 301, 302, 303, 307 or 308")
        if !["uri", "prefixRewrite", "authority", "port", "derivePort", "scheme"].contains(where: fields.has) {
            fields.place.fail(
                .missingField, at: fields.position, "it leads to where it came from",
                mend: "add `uri`, `authority`, `scheme` or `port`")
        }
    }
}

extension Istio.HTTPDirectResponse: ObjectPart {
    private struct Body: ObjectPart {
        var bytes: [UInt8]

        init(_ fields: inout ObjectFields) {
            let string: String? = fields.optional("string")
            let encoded: String? = fields.optional("bytes")
            fields.exactlyOne("string", "bytes")
            bytes = string.map { Array($0.utf8) } ?? encoded.flatMap { Documents.bytes(base64: $0) } ?? []
            if let encoded {
                fields.check(
                    Documents.bytes(base64: encoded) != nil, "bytes", "it is no Base64",
                    mend: "encode it, or write `string`")
            }
            fields.check(bytes.count <= 1 << 20, "string", "the body has more than 1 MiB", mend: "shorten it")
        }
    }

    init(_ fields: inout ObjectFields) {
        status = fields.int("status", 200...599) ?? 200
        if !fields.has("status") { fields.failMissing("status") }
        let body: Body? = fields.optional("body")
        self.body = body?.bytes
    }
}

extension Istio.RegexRewrite: ObjectPart {
    init(_ fields: inout ObjectFields) {
        match = fields.requiredText("match", .regex)
        rewrite = fields.required("rewrite", "")
        if let fault = Self.fault(of: rewrite, for: match) {
            fields.fail(
                .invalidValue, "rewrite", fault, mend: #"write \1 to \9 for groups of `match`, and \\ for a backslash"#)
        }
    }

    /// What RE2 does not take as a substitution.
    private static func fault(of rewrite: String, for match: String) -> String? {
        var groups = 0
        var (isEscaped, isSet) = (false, false)
        let letters = Array(match)
        for (index, letter) in letters.enumerated() {
            if isEscaped {
                isEscaped = false
            } else if letter == "\\" {
                isEscaped = true
            } else if isSet {
                isSet = letter != "]"
            } else if letter == "[" {
                isSet = true
            } else if letter == "(" {
                let next = letters[(index + 1)...].prefix(3)
                if next.first != "?" || next.starts(with: "?P<") || next.starts(with: "?<") { groups += 1 }
            }
        }
        var rest = rewrite[...]
        while let place = rest.firstIndex(of: "\\") {
            rest = rest[rest.index(after: place)...]
            guard let letter = rest.popFirst() else { return "it ends in a lone backslash" }
            if letter == "\\" { continue }
            guard letter.isASCII, let number = letter.wholeNumberValue else {
                return #"`\\#(letter)` means nothing there"#
            }
            if number > groups { return #"there is no group \#(number) in `match`"# }
        }
        return nil
    }
}

extension Istio.HTTPRewrite: ObjectPart {
    init(_ fields: inout ObjectFields) {
        uri = fields.text("uri", .notEmpty)
        authority = fields.text("authority", .notEmpty)
        regex = fields.optional("uriRegexRewrite")
        fields.atMostOne("uri", "uriRegexRewrite")
        if !["uri", "authority", "uriRegexRewrite"].contains(where: fields.has) {
            fields.place.fail(
                .missingField, at: fields.position, "it rewrites nothing", mend: "add `uri` or `authority`")
        }
    }
}

extension Istio.HTTPRetry: ObjectPart {
    init(_ fields: inout ObjectFields) {
        attempts = fields.int("attempts", 0...1000) ?? 2
        perTryTimeout = fields.duration("perTryTimeout", least: .milliseconds(1))
        retryOn = fields.text("retryOn", Self.conditions)
        retriesRemoteLocalities = fields.optional("retryRemoteLocalities")
        ignoresPreviousHosts = fields.optional("retryIgnorePreviousHosts")
        backoff = fields.duration("backoff", least: .milliseconds(1))
        if attempts == 0, fields.has("attempts") {
            for name in ["perTryTimeout", "retryOn", "backoff"] where fields.has(name) {
                fields.contradict(name, "there are no attempts", mend: "remove it, or write `attempts`")
            }
        }
    }

    /// Source: Envoy, x-envoy-retry-on and x-envoy-retry-grpc-on.
    static let conditionNames = [
        "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited",
        "retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
        "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
    ]

    private static let conditions = TextRule(mend: "write conditions of Envoy or status codes, with commas between") {
        text in
        for word in text.split(separator: ",", omittingEmptySubsequences: false) {
            let word = String(word.filter { $0 != " " })
            if conditionNames.contains(word) { continue }
            if let code = Int(word), (100...599).contains(code) { continue }
            let near = suggestion(for: word, among: conditionNames).map { " (did you mean \($0)?)" } ?? ""
            return "`\(excerpt(word))` is no condition to retry on" + near
        }
        return nil
    }
}

extension Istio.HTTPFault: ObjectPart {
    init(_ fields: inout ObjectFields) {
        delay = fields.optional("delay")
        abort = fields.optional("abort")
        if !fields.has("delay"), !fields.has("abort") {
            fields.place.fail(.missingField, at: fields.position, "it does nothing", mend: "add `delay` or `abort`")
        }
    }
}

extension Istio.HTTPFault.Delay: ObjectPart {
    init(_ fields: inout ObjectFields) {
        fixed = fields.duration("fixedDelay", least: .milliseconds(1)) ?? .zero
        if fields.duration("exponentialDelay") != nil {
            fields.fail(
                .invalidValue, "exponentialDelay", "no proxy has delays that grow", mend: "write `fixedDelay`")
        } else if !fields.has("fixedDelay") {
            fields.failMissing("fixedDelay")
        }
        let percentage: Istio.Percentage? = fields.optional("percentage")
        let whole = fields.int("percent", 0...100)
        fields.atMostOne("percentage", "percent")
        self.percentage = percentage?.value ?? whole.map(Double.init) ?? 100
    }
}

extension Istio.HTTPFault.Abort: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let status = fields.int("httpStatus", 200...599)
        let grpc = fields.text("grpcStatus", Self.grpcStatus)
        let http2: String? = fields.optional("http2Error")
        if http2 != nil {
            fields.fail(.invalidValue, "http2Error", "no proxy has it", mend: "write `httpStatus` or `grpcStatus`")
        }
        fields.exactlyOne("httpStatus", "grpcStatus", "http2Error")
        error = grpc.map { .grpc($0) } ?? .http(status ?? 500)
        let percentage: Istio.Percentage? = fields.optional("percentage")
        self.percentage = percentage?.value ?? 100
    }

    /// Source: gRPC, status codes; in their order, so that the index is the number.
    public static let grpcStatusNames = [
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    ]

    private static let grpcStatus = TextRule(mend: "write a name like UNAVAILABLE, or its number") { text in
        if grpcStatusNames.contains(text) { return nil }
        if let number = Int(text), (0...16).contains(number) { return nil }
        return "`\(excerpt(text))` is no status of gRPC"
    }
}

extension Istio.HTTPMirror: ObjectPart {
    init(_ fields: inout ObjectFields) {
        destination = fields.required("destination", Istio.Destination(host: ""))
        let percentage: Istio.Percentage? = fields.optional("percentage")
        self.percentage = percentage?.value ?? 100
    }
}

extension Istio.CORSPolicy: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let exact: [String] = fields.list("allowOrigin")
        allowOrigins = fields.list("allowOrigins") + exact.map { .exact($0) }
        fields.atMostOne("allowOrigin", "allowOrigins")
        allowMethods = fields.texts("allowMethods", .headerName)
        allowHeaders = fields.texts("allowHeaders", .headerName)
        exposeHeaders = fields.texts("exposeHeaders", .headerName)
        maxAge = fields.duration("maxAge")
        allowCredentials = fields.optional("allowCredentials")
        unmatchedPreflights = fields.value("unmatchedPreflights", default: .unspecified)
    }
}

extension Istio.HeaderChanges: ObjectPart {
    init(_ fields: inout ObjectFields) {
        request = fields.value("request", default: Operations())
        response = fields.value("response", default: Operations())
        for (field, operations) in [("request", request), ("response", response)] {
            let names = Array(operations.set.keys) + Array(operations.add.keys)
            let own = names.filter { $0.hasPrefix(":") || $0.lowercased() == "host" }
            let allowed = field == "request" ? [":authority", "host"] : []
            guard let bad = own.filter({ !allowed.contains($0.lowercased()) }).min() else { continue }
            fields.fail(
                .invalidValue, field, "no proxy lets `\(bad)` be changed",
                mend: field == "request" ? "write a `rewrite`" : "remove it")
        }
    }
}

extension Istio.HeaderChanges.Operations: ObjectPart {
    init(_ fields: inout ObjectFields) {
        set = fields.map("set", keys: .headerOrPseudo)
        add = fields.map("add", keys: .headerOrPseudo)
        remove = fields.texts("remove", .headerName)
    }
}
