extension Istio {
    /// How requests for some hosts are routed.
    public struct VirtualService: Hashable, Sendable {
        /// Empty for one that others delegate to.
        public var hosts: [String]
        /// `mesh` (the sidecars) where none is written.
        public var gateways: [String]
        public var http: [HTTPRoute]
        public var tls: [TLSRoute]
        public var tcp: [TCPRoute]
        /// Namespaces that see it; empty means all.
        public var exportTo: [String]

        /// The gateway name that stands for all sidecars.
        public static let meshGateway = "mesh"
    }

    public struct HTTPRoute: Hashable, Sendable {
        public var name: String
        /// Any of them; none matches everything.
        public var match: [HTTPMatch]
        public var action: HTTPAction
        public var rewrite: HTTPRewrite?
        /// Nil is no limit.
        public var timeout: Duration?
        public var retries: HTTPRetry?
        public var fault: HTTPFault?
        public var mirrors: [HTTPMirror]
        public var cors: CORSPolicy?
        public var headers: HeaderChanges
    }

    public enum HTTPAction: Hashable, Sendable {
        case route([HTTPDestination])
        case redirect(HTTPRedirect)
        case directResponse(HTTPDirectResponse)
        /// Another VirtualService, in this one's namespace unless it says so.
        case delegate(name: String, namespace: String?)
    }

    public struct Destination: Hashable, Sendable {
        public var host: String
        public var subset: String?
        public var port: Int?
    }

    public struct HTTPDestination: Hashable, Sendable {
        public var destination: Destination
        /// A share of the sum; a lone destination has all.
        public var weight: Int
        public var headers: HeaderChanges
    }

    public struct StreamDestination: Hashable, Sendable {
        public var destination: Destination
        public var weight: Int
    }

    public struct TLSRoute: Hashable, Sendable {
        public var match: [TLSMatch]
        public var route: [StreamDestination]
    }

    public struct TCPRoute: Hashable, Sendable {
        public var match: [StreamMatch]
        public var route: [StreamDestination]
    }
}

extension Istio.VirtualService: ObjectPart {
    init(_ fields: inout ObjectFields) {
        hosts = fields.texts("hosts", .hostPattern)
        gateways = fields.texts("gateways", .gatewayReference)
        if gateways.isEmpty { gateways = [Self.meshGateway] }
        http = fields.list("http")
        tls = fields.list("tls")
        tcp = fields.list("tcp")
        exportTo = fields.texts("exportTo", .exportTarget)
        for (index, host) in hosts.enumerated() where hosts[..<index].contains(host) {
            fields.fail(.duplicateName, "hosts", "`\(host)` is there twice", mend: "keep one of them")
        }
        if hosts.contains("*"), gateways.contains(Self.meshGateway) {
            fields.fail(
                .invalidValue, "hosts", "`*` is for gateways only: the sidecars would send everything there",
                mend: "write the hosts, or `gateways:`")
        }
        if http.isEmpty, tls.isEmpty, tcp.isEmpty, !["http", "tls", "tcp"].contains(where: fields.has) {
            fields.place.fail(
                .missingField, at: fields.position, "it has no `http`, `tls` or `tcp` routes", mend: "add a route")
        }
        if hosts.isEmpty {
            if fields.has("gateways") || fields.has("tls") || fields.has("tcp") { fields.failMissing("hosts") }
            for (index, route) in http.enumerated() {
                guard case .delegate = route.action else { continue }
                fields.place.field("http").index(index).field("delegate").fail(
                    .contradiction, at: fields.position(of: "http", index, "delegate"),
                    "a delegate cannot delegate again",
                    mend: "write `hosts:`, or route here")
            }
        }
    }
}

extension Istio.HTTPRoute: ObjectPart {
    private struct Delegate: ObjectPart {
        var name: String
        var namespace: String?

        init(_ fields: inout ObjectFields) {
            name = fields.requiredText("name", .subdomain)
            namespace = fields.text("namespace", .label)
        }
    }

    init(_ fields: inout ObjectFields) {
        name = fields.value("name", default: "")
        match = fields.list("match")
        let destinations: [Istio.HTTPDestination] = fields.list("route")
        let redirect: Istio.HTTPRedirect? = fields.optional("redirect")
        let response: Istio.HTTPDirectResponse? = fields.optional("directResponse")
        let delegate: Delegate? = fields.optional("delegate")
        if let redirect {
            action = .redirect(redirect)
        } else if let response {
            action = .directResponse(response)
        } else if let delegate {
            action = .delegate(name: delegate.name, namespace: delegate.namespace)
        } else {
            action = .route(destinations)
        }
        fields.exactlyOne("route", "redirect", "directResponse", "delegate")
        if fields.has("route") { checkWeights(destinations.map(\.weight), "route", fields) }
        rewrite = fields.optional("rewrite")
        timeout = fields.duration("timeout")
        retries = fields.optional("retries")
        fault = fields.optional("fault")
        mirrors = Self.mirrors(&fields)
        cors = fields.optional("corsPolicy")
        headers = fields.value("headers", default: Istio.HeaderChanges())
        guard !fields.has("route") else { return }
        for name in ["rewrite", "retries", "timeout"] where fields.has(name) && !fields.has("delegate") {
            fields.contradict(name, "it is for routes, and this answers by itself", mend: "remove `\(name)`")
        }
    }

    private static func mirrors(_ fields: inout ObjectFields) -> [Istio.HTTPMirror] {
        let destination: Istio.Destination? = fields.optional("mirror")
        let percentage: Istio.Percentage? = fields.optional("mirrorPercentage")
        let whole = fields.int("mirrorPercent", 0...100)
        let several: [Istio.HTTPMirror] = fields.list("mirrors")
        fields.atMostOne("mirror", "mirrors")
        fields.atMostOne("mirrorPercentage", "mirrorPercent")
        guard let destination else {
            for name in ["mirrorPercentage", "mirrorPercent"] where fields.has(name) && !fields.has("mirror") {
                fields.contradict(name, "there is no `mirror` for it", mend: "add `mirror:`, or remove it")
            }
            return several
        }
        return [
            Istio.HTTPMirror(destination: destination, percentage: percentage?.value ?? whole.map(Double.init) ?? 100)
        ]
    }
}

/// Weights are shares of their sum, which must not be 0 where there are several.
private func checkWeights(_ weights: [Int], _ name: String, _ fields: ObjectFields) {
    if weights.isEmpty, fields.place.log.hasRoom, fields.place.log.errors.isEmpty {
        fields.fail(.missingField, name, "there is no destination", mend: "add one")
    }
    guard weights.count > 1, weights.allSatisfy({ $0 >= 0 }) else { return }
    let (sum, overflow) = weights.reduce((0, false)) { sum, weight in
        let (next, over) = sum.0.addingReportingOverflow(weight)
        return (next, sum.1 || over)
    }
    fields.check(sum > 0, name, "the weights sum to 0", mend: "give one of them a weight")
    fields.check(
        !overflow && sum <= Int(UInt32.max), name, "the weights sum to more than \(UInt32.max)", mend: "divide them all"
    )
}

extension Istio.Destination: ObjectPart {
    init(_ fields: inout ObjectFields) {
        host = fields.requiredText("host", .hostPattern)
        subset = fields.text("subset", .notEmpty)
        let port: PortSelector? = fields.optional("port")
        self.port = port?.number
    }
}

/// `port: {number: 80}`
struct PortSelector: ObjectPart {
    var number: Int

    init(_ fields: inout ObjectFields) { number = fields.requiredPort("number") }
}

extension Istio.HTTPDestination: ObjectPart {
    init(_ fields: inout ObjectFields) {
        destination = fields.required("destination", Istio.Destination(host: ""))
        weight = fields.int("weight", 0...Int(Int32.max)) ?? 0
        headers = fields.value("headers", default: Istio.HeaderChanges())
    }
}

extension Istio.StreamDestination: ObjectPart {
    init(_ fields: inout ObjectFields) {
        destination = fields.required("destination", Istio.Destination(host: ""))
        weight = fields.int("weight", 0...Int(Int32.max)) ?? 0
    }
}

extension Istio.TLSRoute: ObjectPart {
    init(_ fields: inout ObjectFields) {
        match = fields.list("match", atLeastOne: true)
        route = fields.list("route", atLeastOne: true)
        checkWeights(route.map(\.weight), "route", fields)
    }
}

extension Istio.TCPRoute: ObjectPart {
    init(_ fields: inout ObjectFields) {
        match = fields.list("match")
        route = fields.list("route", atLeastOne: true)
        checkWeights(route.map(\.weight), "route", fields)
    }
}
