extension Kubernetes {
    /// How to see whether a workload can take calls. Source: Kubernetes, core/v1 Probe; Istio, ReadinessProbe.
    public struct Probe: Hashable, Sendable {
        public enum Check: Hashable, Sendable {
            case http(HTTP)
            case tcp(IntOrString)
            /// gRPC's health protocol.
            case grpc(port: Int, service: String)
            /// A command in the container: no proxy can run it.
            case command
        }

        public struct HTTP: Hashable, Sendable {
            public struct Header: Hashable, Sendable {
                public var name: String
                public var value: String
            }

            public var path: String
            public var port: IntOrString
            /// Nil: the workload's own.
            public var host: String?
            public var isTLS: Bool
            public var headers: [Header]
        }

        public var check: Check
        public var initialDelay: Duration
        public var period: Duration
        public var timeout: Duration
        /// So many in a row make it healthy, or unhealthy.
        public var successes: Int
        public var failures: Int
    }
}

extension Kubernetes.Probe: ObjectPart {
    private struct Socket: ObjectPart {
        var port: IntOrString
        init(_ fields: inout ObjectFields) {
            port = fields.requiredPortOrName("port")
            fields.ignore(["host"])
        }
    }

    private struct Call: ObjectPart {
        var port: Int
        var service: String
        init(_ fields: inout ObjectFields) {
            port = fields.requiredPort("port")
            service = fields.value("service", default: "")
        }
    }

    private struct Command: ObjectPart {
        init(_ fields: inout ObjectFields) { fields.ignore(["command"]) }
    }

    init(_ fields: inout ObjectFields) {
        let http: HTTP? = fields.optional("httpGet")
        let socket: Socket? = fields.optional("tcpSocket")
        let call: Call? = fields.optional("grpc")
        let _: Command? = fields.optional("exec")
        fields.exactlyOne("httpGet", "tcpSocket", "grpc", "exec")
        check =
            http.map { .http($0) } ?? socket.map { .tcp($0.port) }
            ?? call.map { .grpc(port: $0.port, service: $0.service) } ?? .command
        // Zero is what is not written.
        func number(_ name: String, _ standard: Int) -> Int {
            let value = fields.int(name, 0...Int(Int32.max)) ?? 0
            return value == 0 ? standard : value
        }
        initialDelay = .seconds(number("initialDelaySeconds", 0))
        (period, timeout) = (.seconds(number("periodSeconds", 10)), .seconds(number("timeoutSeconds", 1)))
        (successes, failures) = (number("successThreshold", 1), number("failureThreshold", 3))
        fields.ignore(["terminationGracePeriodSeconds"])
    }
}

extension Kubernetes.Probe.HTTP: ObjectPart {
    private enum Scheme: String, NamedValue {
        case http = "HTTP"
        case https = "HTTPS"
        case lowerHTTP = "http"
        case lowerHTTPS = "https"
    }

    init(_ fields: inout ObjectFields) {
        let text: String = fields.value("path", default: "/")
        path = text.hasPrefix("/") ? text : "/" + text
        port = fields.requiredPortOrName("port")
        host = fields.optional("host")
        let scheme: Scheme = fields.value("scheme", default: .http)
        isTLS = scheme == .https || scheme == .lowerHTTPS
        headers = fields.list("httpHeaders")
    }
}

extension Kubernetes.Probe.HTTP.Header: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .headerName)
        value = fields.value("value", default: "")
    }
}
