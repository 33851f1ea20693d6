import Documents

extension Istio.EnvoyFilter {
    public enum Target: String, NamedValue {
        case listener = "LISTENER"
        case filterChain = "FILTER_CHAIN"
        case networkFilter = "NETWORK_FILTER"
        case httpFilter = "HTTP_FILTER"
        case routeConfiguration = "ROUTE_CONFIGURATION"
        case virtualHost = "VIRTUAL_HOST"
        case httpRoute = "HTTP_ROUTE"
        case cluster = "CLUSTER"
        case extensionConfig = "EXTENSION_CONFIG"
        case bootstrap = "BOOTSTRAP"
        case listenerFilter = "LISTENER_FILTER"
    }

    public enum PatchContext: String, NamedValue {
        case any = "ANY"
        case sidecarInbound = "SIDECAR_INBOUND"
        case sidecarOutbound = "SIDECAR_OUTBOUND"
        case gateway = "GATEWAY"
        case waypoint = "WAYPOINT"
    }

    public enum Operation: String, NamedValue {
        case merge = "MERGE"
        case add = "ADD"
        case remove = "REMOVE"
        case insertBefore = "INSERT_BEFORE"
        case insertAfter = "INSERT_AFTER"
        case insertFirst = "INSERT_FIRST"
        case replace = "REPLACE"
        case mergeAndReplaceList = "MERGE_AND_REPLACE_LIST"
    }

    public enum FilterClass: String, NamedValue {
        case unspecified = "UNSPECIFIED"
        case authentication = "AUTHN"
        case authorization = "AUTHZ"
        case stats = "STATS"
    }

    /// What is changed in which of the resources that are made.
    public struct Patch: Hashable, Sendable {
        public var target: Target
        public var match: Match
        public var operation: Operation
        /// One line of JSON; nil for a removal.
        public var value: String?
        public var filterClass: FilterClass
    }

    public struct Match: Hashable, Sendable {
        public enum Resource: Hashable, Sendable {
            case any
            case listener(ListenerMatch)
            case route(RouteMatch)
            case cluster(ClusterMatch)
        }

        public var context: PatchContext = .any
        /// A regular expression.
        public var proxyVersion: String?
        public var proxyMetadata: [String: String] = [:]
        public var resource: Resource = .any
    }

    public struct ListenerMatch: Hashable, Sendable {
        public var port: Int?
        public var name: String?
        public var listenerFilter: String?
        public var chainName: String?
        public var serverName: String?
        public var transportProtocol: String?
        public var applicationProtocols: String?
        public var destinationPort: Int?
        public var filter: String?
        public var subFilter: String?
    }

    public struct RouteMatch: Hashable, Sendable {
        public enum Action: String, NamedValue {
            case any = "ANY"
            case route = "ROUTE"
            case redirect = "REDIRECT"
            case directResponse = "DIRECT_RESPONSE"
        }

        public var port: Int?
        public var portName: String?
        public var gateway: String?
        public var name: String?
        public var virtualHost: String?
        public var domain: String?
        public var route: String?
        public var action: Action
    }

    public struct ClusterMatch: Hashable, Sendable {
        public var port: Int?
        public var service: String?
        public var subset: String?
        public var name: String?
    }
}

extension Istio.EnvoyFilter: ObjectPart {
    init(_ fields: inout ObjectFields) {
        workloadSelector = fields.networkingSelector("workloadSelector")
        targets = fields.list("targetRefs")
        patches = fields.list("configPatches", atLeastOne: true)
        priority = fields.int("priority", Int(Int32.min)...Int(Int32.max)) ?? 0
        fields.atMostOne("workloadSelector", "targetRefs")
    }
}

extension Istio.EnvoyFilter.Patch: ObjectPart {
    private struct Change: ObjectPart {
        var operation: Istio.EnvoyFilter.Operation
        var value: String?
        var filterClass: Istio.EnvoyFilter.FilterClass

        init(_ fields: inout ObjectFields) {
            operation = fields.required("operation", .merge)
            let document: AnyDocument? = fields.optional("value")
            value = document?.node.json(isPretty: false)
            filterClass = fields.value("filterClass", default: .unspecified)
            if operation == .remove, value != nil {
                fields.contradict("value", "REMOVE takes no value", mend: "remove it")
            } else if operation != .remove, value == nil, fields.has("operation") {
                fields.failMissing("value")
            }
        }
    }

    init(_ fields: inout ObjectFields) {
        target = fields.required("applyTo", .listener)
        match = fields.value("match", default: Istio.EnvoyFilter.Match())
        let change: Change? = fields.optional("patch")
        if !fields.has("patch") { fields.failMissing("patch") }
        operation = change?.operation ?? .remove
        value = change?.value
        filterClass = change?.filterClass ?? .unspecified
        if match.context == .waypoint {
            fields.fail(.invalidValue, "match", "there are no waypoints here", mend: "write another `context`")
        }
    }
}

extension Istio.EnvoyFilter.Match: ObjectPart {
    private struct Proxy: ObjectPart {
        var version: String?
        var metadata: [String: String]

        init(_ fields: inout ObjectFields) {
            version = fields.text("proxyVersion", .regex)
            metadata = fields.map("metadata")
        }
    }

    init(_ fields: inout ObjectFields) {
        context = fields.value("context", default: .any)
        let proxy: Proxy? = fields.optional("proxy")
        proxyVersion = proxy?.version
        proxyMetadata = proxy?.metadata ?? [:]
        let listener: Istio.EnvoyFilter.ListenerMatch? = fields.optional("listener")
        let route: Istio.EnvoyFilter.RouteMatch? = fields.optional("routeConfiguration")
        let cluster: Istio.EnvoyFilter.ClusterMatch? = fields.optional("cluster")
        fields.ignore(["waypoint"])
        fields.atMostOne("listener", "routeConfiguration", "cluster", "waypoint")
        if fields.has("waypoint") {
            fields.fail(.invalidValue, "waypoint", "there are no waypoints here", mend: "remove it")
        }
        resource =
            listener.map { .listener($0) } ?? route.map { .route($0) } ?? cluster.map { .cluster($0) } ?? .any
    }
}

extension Istio.EnvoyFilter.ListenerMatch: ObjectPart {
    private struct Filter: ObjectPart {
        struct SubFilter: ObjectPart {
            var name: String?
            init(_ fields: inout ObjectFields) { name = fields.optional("name") }
        }

        var name: String?
        var subFilter: SubFilter?
        init(_ fields: inout ObjectFields) {
            name = fields.optional("name")
            subFilter = fields.optional("subFilter")
        }
    }

    private struct Chain: ObjectPart {
        var name: String?
        var serverName: String?
        var transportProtocol: String?
        var applicationProtocols: String?
        var destinationPort: Int?
        var filter: Filter?
        init(_ fields: inout ObjectFields) {
            name = fields.optional("name")
            serverName = fields.optional("sni")
            transportProtocol = fields.optional("transportProtocol")
            applicationProtocols = fields.optional("applicationProtocols")
            destinationPort = fields.port("destinationPort")
            filter = fields.optional("filter")
        }
    }

    init(_ fields: inout ObjectFields) {
        port = fields.port("portNumber")
        let _: String? = fields.optional("portName")
        name = fields.optional("name")
        listenerFilter = fields.optional("listenerFilter")
        let chain: Chain? = fields.optional("filterChain")
        chainName = chain?.name
        serverName = chain?.serverName
        transportProtocol = chain?.transportProtocol
        applicationProtocols = chain?.applicationProtocols
        destinationPort = chain?.destinationPort
        filter = chain?.filter?.name
        subFilter = chain?.filter?.subFilter?.name
    }
}

extension Istio.EnvoyFilter.RouteMatch: ObjectPart {
    private struct Route: ObjectPart {
        var name: String?
        var action: Action
        init(_ fields: inout ObjectFields) {
            name = fields.optional("name")
            action = fields.value("action", default: .any)
        }
    }

    private struct Host: ObjectPart {
        var name: String?
        var domain: String?
        var route: Route?
        init(_ fields: inout ObjectFields) {
            name = fields.optional("name")
            domain = fields.optional("domainName")
            route = fields.optional("route")
        }
    }

    init(_ fields: inout ObjectFields) {
        port = fields.port("portNumber")
        portName = fields.optional("portName")
        gateway = fields.optional("gateway")
        name = fields.optional("name")
        let host: Host? = fields.optional("vhost")
        virtualHost = host?.name
        domain = host?.domain
        route = host?.route?.name
        action = host?.route?.action ?? .any
    }
}

extension Istio.EnvoyFilter.ClusterMatch: ObjectPart {
    init(_ fields: inout ObjectFields) {
        port = fields.port("portNumber")
        service = fields.optional("service")
        subset = fields.optional("subset")
        name = fields.optional("name")
    }
}
