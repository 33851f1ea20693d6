import Addresses
import Mesh

/// A listener for what a workload calls, as a value: what it leads to and how connections are told apart.
public struct OutboundListener: Hashable, Sendable {
    /// Connections that are no HTTP, to one place.
    public struct Stream: Hashable, Sendable {
        /// The service that it is for.
        public var host: String
        public var port: Int
        /// Server names of TLS; empty: any, and no TLS too.
        public var serverNames: [String] = []
        /// Where the client meant to connect to; empty: anywhere.
        public var destinations: [AddressBlock] = []
        public var sources: [AddressBlock] = []
        /// Cluster names with their shares.
        public var targets: [Target] = []
        /// The object whose route it is; nil for what no object says.
        public var origin: String?

        var takesEverything: Bool { serverNames.isEmpty && destinations.isEmpty && sources.isEmpty }
    }

    public struct Target: Hashable, Sendable {
        public var cluster: String
        public var weight: Int
        var host: String
        var port: Int
        var subset: String
    }

    /// An address or a `unix://` path.
    public var address: String
    public var port: Int
    /// Nobody redirects connections to it: it has a socket of its own.
    public var bindsToPort: Bool
    /// The route configuration of its HTTP; nil if it has none.
    public var routeName: String?
    /// In order; of two that take the same, the first has it.
    public var streams: [Stream] = []
    /// Some of its ports speak gRPC-Web.
    public var translatesGRPCWeb = false
    /// What fits nothing else goes where the client meant it to go, or nowhere.
    public var fallback: String?

    public var name: String {
        address.hasPrefix("unix://") ? address : ResourceNames.listener(address, port)
    }

    /// Whether it has to look at a connection to know if it is HTTP.
    public var detectsHTTP: Bool { routeName != nil && (fallback != nil || !streams.isEmpty) }
}

extension Translator {
    static let anyAddress = "0.0.0.0"

    /// The listeners that proxies of a class have for what they call, by name.
    ///
    /// HTTP services share one listener for each port, and are told apart by the request's host. Other services have the
    /// listener of their virtual address; those without one share the port's, told apart by server name, by the
    /// endpoints' addresses, or not at all: the oldest has it then. Source: Istio, outbound listeners of sidecars.
    public func outboundPlan(
        for proxy: ProxyClass, scope: OutboundScope, services: [MeshService]
    ) -> [OutboundListener] {
        var plan = OutboundPlan(proxy: proxy)
        guard let key = scope.sidecar, let object = mesh.object(key), case .sidecar(let sidecar) = object.body,
            !sidecar.egress.isEmpty
        else {
            for service in agedFirst(services) { add(service, to: &plan, nil, scope) }
            warn(of: plan.crowdedOut, services)
            return plan.finished(fallback: fallback(for: scope))
        }
        for egress in sidecar.egress {
            if let port = egress.port, port.transport?.isHTTP ?? true {
                // It is there though no service has the port yet.
                plan.addHTTP(at: plan.place(port.number, egress), port.number)
            }
            for service in agedFirst(services)
            where egress.hosts.contains(where: { allows($0, service, scope) }) {
                add(service, to: &plan, egress, scope)
            }
        }
        warn(of: plan.crowdedOut, services)
        return plan.finished(fallback: fallback(for: scope))
    }

    /// Tells the users of services that get nothing of a port which others have.
    private func warn(of crowded: [OutboundPlan.Crowded], _ services: [MeshService]) {
        for place in crowded {
            guard let service = services.first(where: { $0.host == place.host }), let object = mesh.object(service.key)
            else { continue }
            mesh.warn(
                object.finding(
                    .warning, .contradiction, at: "spec.ports",
                    "connections to port \(place.port) of `\(place.host)` cannot be told from those to "
                        + "`\(place.winner)`, which came first: they go there",
                    mend: "give it an address, another port, or a port of TLS or HTTP, where names tell them apart"))
        }
    }

    /// Who came first has what several claim.
    private func agedFirst(_ services: [MeshService]) -> [MeshService] {
        let aged = services.map { ($0, mesh.object($0.key)?.metadata.creationTimestamp) }
        guard aged.contains(where: { $0.1 != nil }) else { return services }
        return aged.enumerated().sorted { one, other in
            switch (one.element.1, other.element.1) {
            case (let first?, let second?) where first != second: first < second
            case (.some, nil): true
            case (nil, .some): false
            default: one.offset < other.offset
            }
        }.map(\.element.0)
    }

    private func fallback(for scope: OutboundScope) -> String {
        var outbound = mesh.config.outbound
        if let key = scope.sidecar, case .sidecar(let sidecar) = mesh.object(key)?.body {
            outbound = sidecar.outbound ?? outbound
        }
        return outbound == .allowAny ? ResourceNames.passthrough : ResourceNames.blackHole
    }

    func standardCluster(for scope: OutboundScope) -> String { fallback(for: scope) }

    private func add(
        _ service: MeshService, to plan: inout OutboundPlan, _ egress: Istio.Sidecar.Egress?, _ scope: OutboundScope
    ) {
        for port in service.ports where port.statedProtocol != .udp {
            var number = port.number
            if let stated = egress?.port {
                // A listener's port is the service's, or that of a service which has only one.
                guard stated.number == port.number || service.ports.count == 1 else { continue }
                number = stated.number
            }
            let transport = egress?.port?.transport ?? port.statedProtocol
            let place = plan.place(number, egress)
            if let transport, transport.isHTTP {
                plan.addHTTP(at: place, number, translatesGRPCWeb: transport == .grpcWeb)
                continue
            }
            for (place, streams) in streamPlaces(service, port, place, plan, egress, scope) {
                if transport == nil { plan.addHTTP(at: place, number) }
                plan.listeners[place, default: OutboundListener(place)].streams += streams
            }
        }
    }

    /// Where the streams of one port are taken, and what they are told apart by there.
    private func streamPlaces(
        _ service: MeshService, _ port: MeshService.Port, _ shared: OutboundPlan.Place, _ plan: OutboundPlan,
        _ egress: Istio.Sidecar.Egress?, _ scope: OutboundScope
    ) -> [(OutboundPlan.Place, [OutboundListener.Stream])] {
        let streams = streamRoutes(of: service, port: port.number, for: scope).map { route in
            OutboundListener.Stream(
                host: service.host, port: port.number, serverNames: route.serverNames,
                destinations: route.destinations, sources: route.sources,
                targets: route.targets.map {
                    OutboundListener.Target(
                        cluster: $0.cluster, weight: $0.weight, host: $0.host, port: $0.port, subset: $0.subset)
                }, origin: route.origin.map { "\($0.object.namespace)/\($0.object.name)" })
        }
        let named = port.statedProtocol?.isTLS == true ? byServerName(streams, service) : streams
        guard shared.address == Self.anyAddress, !shared.bindsToPort, egress?.bind == nil else {
            return [(shared, named)]
        }
        var places: [(OutboundPlan.Place, [OutboundListener.Stream])] = []
        let single = service.addresses.filter { $0.bits == $0.address.bitCount }
        for block in single {
            let own = OutboundPlan.Place(address: block.address.text, port: shared.port, bindsToPort: false)
            places.append((own, streams))
        }
        let ranges = service.addresses.filter { !single.contains($0) }
        if !ranges.isEmpty {
            places.append((shared, named.map { narrowed($0, to: ranges) }))
        } else if service.isHeadless {
            // Clients call the endpoints themselves.
            let blocks = endpointAddresses(of: service, port).compactMap { AddressBlock($0) }
            places.append((shared, blocks.isEmpty ? named : named.map { narrowed($0, to: blocks) }))
        } else if single.isEmpty {
            places.append((shared, named))
        }
        return places
    }

    private func narrowed(
        _ stream: OutboundListener.Stream, to blocks: [AddressBlock]
    ) -> OutboundListener.Stream {
        var stream = stream
        if stream.destinations.isEmpty { stream.destinations = blocks }
        return stream
    }

    /// Several services on one port are told apart by the host that the client's TLS asks for.
    private func byServerName(
        _ streams: [OutboundListener.Stream], _ service: MeshService
    ) -> [OutboundListener.Stream] {
        streams.map { stream in
            var stream = stream
            if stream.serverNames.isEmpty, service.host != "*" { stream.serverNames = [service.host] }
            return stream
        }
    }

    private func endpointAddresses(of service: MeshService, _ port: MeshService.Port) -> [String] {
        Set(endpoints(of: backends(of: service), port: port).filter { !$0.isName }.map(\.address)).sorted()
    }
}

/// Listeners while services are still being added to them.
struct OutboundPlan {
    struct Place: Hashable {
        var address: String
        var port: Int
        var bindsToPort: Bool
    }

    var proxy: ProxyClass
    var listeners: [Place: OutboundListener] = [:]

    /// A service that gets nothing of a port, and who has it.
    struct Crowded: Hashable {
        var host: String
        var port: Int
        var winner: String
    }

    /// Sorted.
    var crowdedOut: [Crowded] {
        var found: Set<Crowded> = []
        for listener in listeners.values {
            let kept = Set(Self.distinct(listener.streams).map(\.host))
            guard let winner = listener.streams.first?.host else { continue }
            for stream in listener.streams where !kept.contains(stream.host) {
                found.insert(Crowded(host: stream.host, port: stream.port, winner: winner))
            }
        }
        return found.sorted { ($0.port, $0.host) < ($1.port, $1.host) }
    }

    init(proxy: ProxyClass) {
        self.proxy = proxy
    }

    /// The place that services of a port share.
    func place(_ number: Int, _ egress: Istio.Sidecar.Egress?) -> Place {
        let isCaptured: Bool
        var address = Translator.anyAddress
        switch proxy.interception {
        case .redirect, .transparent: isCaptured = egress?.capture != Istio.Sidecar.Capture.none
        case .explicit(let addresses):
            isCaptured = false
            address = addresses.outbound
        }
        if egress?.capture == Istio.Sidecar.Capture.none, address == Translator.anyAddress { address = "127.0.0.1" }
        return Place(address: egress?.bind ?? address, port: number, bindsToPort: !isCaptured)
    }

    mutating func addHTTP(at place: Place, _ number: Int, translatesGRPCWeb: Bool = false) {
        var listener = listeners[place] ?? OutboundListener(place)
        listener.routeName = ResourceNames.routes(number)
        listener.translatesGRPCWeb = listener.translatesGRPCWeb || translatesGRPCWeb
        listeners[place] = listener
    }

    /// Sorted, and without streams that others take first.
    func finished(fallback: String) -> [OutboundListener] {
        listeners.values.map { listener in
            var listener = listener
            listener.streams = Self.distinct(listener.streams)
            let isShared = listener.address == Translator.anyAddress && !listener.bindsToPort
            if isShared, !listener.streams.contains(where: \.takesEverything) { listener.fallback = fallback }
            return listener
        }.filter { $0.routeName != nil || !$0.streams.isEmpty }.sorted { $0.name < $1.name }
    }

    /// Envoy refuses a listener with two filter chains that ask for the same.
    private static func distinct(_ streams: [OutboundListener.Stream]) -> [OutboundListener.Stream] {
        struct Condition: Hashable {
            var serverName: String?
            var destination: AddressBlock?
            var source: AddressBlock?
        }
        var taken: Set<Condition> = []
        var result: [OutboundListener.Stream] = []
        for var stream in streams {
            func isNew(_ name: String?, _ destination: AddressBlock?) -> Bool {
                let sources: [AddressBlock?] = stream.sources.isEmpty ? [nil] : stream.sources
                let conditions = sources.map {
                    Condition(serverName: name, destination: destination, source: $0)
                }
                guard conditions.allSatisfy({ !taken.contains($0) }) else { return false }
                taken.formUnion(conditions)
                return true
            }
            let names: [String?] = stream.serverNames.isEmpty ? [nil] : stream.serverNames
            let blocks: [AddressBlock?] = stream.destinations.isEmpty ? [nil] : stream.destinations
            if blocks.count > 1, names.count > 1 {
                // Both lists multiply; what is taken in part is left out whole.
                let all = names.flatMap { name in blocks.map { (name, $0) } }
                guard all.allSatisfy({ !taken.contains(Condition(serverName: $0.0, destination: $0.1)) }) else {
                    continue
                }
                for (name, block) in all { _ = isNew(name, block) }
            } else if blocks.count > 1 {
                let kept = blocks.filter { isNew(names[0], $0) }
                if kept.isEmpty { continue }
                stream.destinations = kept.compactMap { $0 }
            } else {
                let kept = names.filter { isNew($0, blocks[0]) }
                if kept.isEmpty { continue }
                stream.serverNames = kept.compactMap { $0 }
            }
            result.append(stream)
        }
        return result
    }
}

extension OutboundListener {
    init(_ place: OutboundPlan.Place) {
        self.init(address: place.address, port: place.port, bindsToPort: place.bindsToPort)
    }
}
