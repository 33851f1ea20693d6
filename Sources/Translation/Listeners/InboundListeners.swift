import EnvoyAPI
import Mesh
import Protobuf
import XDS

/// What a sidecar does with the connections of one kind to one of the workload's ports.
private enum InboundHandling {
    case http
    case stream
}

/// One filter chain of a port: whom it takes, and what it does with them.
private struct InboundChain {
    var match: ChainMatch
    var isMutualTLS: Bool
    var handling: InboundHandling

    /// What sidecars say in their greeting; those of Istio have a family of names.
    static let meshProtocols = ["istio", "istio-peer-exchange"]
    static let meshHTTPProtocols = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]
    /// What HTTP clients say that are no sidecars, such as gRPC without a proxy.
    static let httpProtocols = ["h2", "http/1.1", "http/1.0"]

    /// The chains of a port by what it takes and what it speaks.
    /// - Parameters:
    ///   - isHTTP: nil leaves it to be detected.
    ///   - meshNames: server names that only sidecars ask for.
    static func all(
        _ mode: Istio.PeerAuthentication.Mode, isHTTP: Bool?, port: Int?, meshNames: [String]
    ) -> [InboundChain] {
        func chain(
            _ isMutualTLS: Bool, _ handling: InboundHandling, _ transport: String?, _ protocols: [String] = [],
            names: [String] = []
        ) -> InboundChain {
            InboundChain(
                match: ChainMatch(
                    port: port, serverNames: names, transport: transport, applicationProtocols: protocols),
                isMutualTLS: isMutualTLS, handling: handling)
        }
        let (tls, plain) = (ChainMatch.tls, ChainMatch.plain)
        let http = meshHTTPProtocols + httpProtocols
        switch (mode, isHTTP) {
        case (.strict, true): return [chain(true, .http, tls)]
        case (.strict, false): return [chain(true, .stream, tls)]
        case (.strict, nil): return [chain(true, .http, tls, http), chain(true, .stream, tls)]
        case (.permissive, true), (.unset, true): return [chain(true, .http, tls), chain(false, .http, plain)]
        case (.permissive, false), (.unset, false):
            return [
                chain(true, .stream, tls, meshProtocols + meshHTTPProtocols), chain(false, .stream, tls),
                chain(false, .stream, plain),
            ]
        case (.permissive, nil), (.unset, nil):
            // Which TLS is the application's own, the server name tells: sidecars ask for more than the host.
            let named =
                meshNames.isEmpty
                ? []
                : [chain(true, .http, tls, http, names: meshNames), chain(true, .stream, tls, names: meshNames)]
            return named + [
                chain(true, .http, tls, meshHTTPProtocols), chain(true, .stream, tls, meshProtocols),
                chain(false, .stream, tls), chain(false, .http, plain, ChainMatch.http),
                chain(false, .stream, plain),
            ]
        case (.disable, true): return [chain(false, .http, nil)]
        case (.disable, false): return [chain(false, .stream, nil)]
        case (.disable, nil):
            return [
                chain(false, .http, plain, ChainMatch.http), chain(false, .stream, plain), chain(false, .stream, tls),
            ]
        }
    }
}

extension Translator {
    /// What a sidecar's server side offers, so that clients of HTTP/2 and other sidecars know that it is understood.
    static let serverProtocols = ["h2", "http/1.1", "istio"]

    /// The listeners by which the workloads of a class are called, sorted by name.
    public func inboundListeners(of proxy: ProxyClass) -> [XDS.Resource] {
        guard proxy.kind == .sidecar else { return [] }
        let ports = inboundPorts(of: proxy)
        var listeners: [Resource] = []
        switch proxy.interception {
        case .redirect, .transparent:
            let captured = ports.filter { $0.ingress?.capture != Istio.Sidecar.Capture.none }
            listeners.append(virtualInbound(of: proxy, captured))
            listeners += ports.filter { $0.ingress?.capture == Istio.Sidecar.Capture.none }.map {
                inboundListener(of: proxy, $0, at: $0.ingress?.bind ?? Self.anyAddress)
            }
        case .explicit(let addresses):
            listeners += ports.map { inboundListener(of: proxy, $0, at: $0.ingress?.bind ?? addresses.inbound) }
        }
        var names: Set<String> = []
        return listeners.sorted { $0.name < $1.name }.filter { names.insert($0.name).inserted }
    }

    private func inboundListener(of proxy: ProxyClass, _ port: InboundPort, at address: String) -> Resource {
        let name = address.hasPrefix("unix://") ? address : ResourceNames.listener(address, port.number)
        var parts = ListenerParts(name: name, address: address, port: port.number, side: .inbound)
        add(port, to: &parts, of: proxy, isShared: false)
        return listener(parts, of: proxy)
    }

    /// Takes everything that is redirected on its way in, by the port that was called.
    private func virtualInbound(of proxy: ProxyClass, _ ports: [InboundPort]) -> Resource {
        var parts = ListenerParts(
            name: ResourceNames.virtualInbound, address: Self.anyAddress, port: Self.inboundCapturePort, side: .inbound)
        parts.usesOriginalDestination = true
        parts.isTransparent = proxy.interception == .transparent
        parts.inspectsTLS = true
        parts.inspectedPorts = []
        parts.chains.append(
            filterChain(
                "virtualInbound-blackhole", ChainMatch(port: Self.inboundCapturePort),
                [streamProxy([StreamTarget(cluster: ResourceNames.blackHole)], side: .inbound, of: proxy)]))
        for port in ports { add(port, to: &parts, of: proxy, isShared: true) }
        // Ports that no service has lead to the workload as they are.
        let mode = mutualTLSMode(of: proxy, port: 0)
        for chain in InboundChain.all(mode, isHTTP: false, port: nil, meshNames: []) {
            let filters =
                networkPolicyFilters(of: proxy, port: 0) + [
                    streamProxy(
                        [StreamTarget(cluster: ResourceNames.inboundPassthrough)], side: .inbound, of: proxy)
                ]
            parts.chains.append(
                filterChain(
                    ResourceNames.virtualInbound, chain.match, filters,
                    transportSocket: chain.isMutualTLS ? meshServerSocket() : nil))
        }
        return listener(parts, of: proxy)
    }

    /// - Parameter isShared: other ports are taken by the same listener.
    private func add(_ port: InboundPort, to parts: inout ListenerParts, of proxy: ProxyClass, isShared: Bool) {
        let isHTTP = port.statedProtocol?.isHTTP
        let chains: [InboundChain]
        var ownSocket: UnsafeMutablePointer<TransportSocket>?
        if let tls = port.ingress?.tls, tls.mode.terminates, tls.mode != .istioMutual {
            // The Sidecar says with which certificates the workload's clients speak.
            ownSocket = serverSocket(GatewayTLS(tls), isHTTP: isHTTP ?? true)
            chains = [
                InboundChain(
                    match: ChainMatch(port: isShared ? port.number : nil, transport: ChainMatch.tls),
                    isMutualTLS: false, handling: isHTTP == false ? .stream : .http)
            ]
        } else {
            let mode = mutualTLSMode(of: proxy, port: port.number)
            chains = InboundChain.all(
                mode, isHTTP: isHTTP, port: isShared ? port.number : nil,
                meshNames: Set(port.services.map { "*." + $0.service.host }.filter { !$0.contains("*.*") }).sorted())
        }
        if chains.contains(where: { $0.match.transport != nil }) { parts.inspectsTLS = true }
        if isHTTP == nil, ownSocket == nil {
            parts.inspectsHTTP = true
            parts.inspectedPorts = isShared ? (parts.inspectedPorts ?? []) + [port.number] : nil
        }
        let name = ResourceNames.listener(Self.anyAddress, port.number)
        for chain in chains {
            let filters: [UnsafeMutablePointer<NetworkFilter>]
            switch chain.handling {
            case .http:
                let manager = HTTPChain(
                    side: .inbound, statPrefix: "inbound_\(name);", routes: .inline(inboundRoute(for: port)),
                    policies: httpPolicyFilters(of: proxy, port: port.number),
                    translatesGRPCWeb: port.statedProtocol == .grpcWeb, settings: inboundPool(of: proxy, port)?.http)
                filters = [httpConnectionManager(manager, of: proxy)]
            case .stream:
                filters =
                    networkPolicyFilters(of: proxy, port: port.number) + [
                        streamProxy(
                            [StreamTarget(cluster: ResourceNames.inbound(port.number))], side: .inbound, of: proxy,
                            pool: inboundPool(of: proxy, port)?.tcp)
                    ]
            }
            parts.chains.append(
                filterChain(
                    name, chain.match, filters, transportSocket: chain.isMutualTLS ? meshServerSocket() : ownSocket))
        }
    }

    /// The route of everything that comes in at a port, for use in the listener itself.
    func inboundRoute(for port: InboundPort) -> UnsafeMutablePointer<RouteConfiguration> {
        let served = port.services.first
        let operation = served.map { "\($0.service.host):\($0.port.number)" } ?? "inbound:\(port.number)"
        return inboundRoute(number: port.number, operation: operation, transport: port.statedProtocol)
    }

    private func inboundPool(of proxy: ProxyClass, _ port: InboundPort) -> Istio.ConnectionPool? {
        if let own = port.ingress?.connectionPool { return own }
        guard let object = sidecar(for: proxy), case .sidecar(let sidecar) = object.body else { return nil }
        return sidecar.inboundConnectionPool
    }

    func meshServerSocket(_ protocols: [String] = serverProtocols) -> UnsafeMutablePointer<TransportSocket> {
        transportSocket("envoy.transport_sockets.tls", downstreamTLSContext(alpn: protocols))
    }
}
