import Forwarding
import Protobuf
import TLS

/// Makes what the workers take of what the store serves. What has not changed stays the same object.
struct ServedAssembly {
    /// What an object was made of: the resource's number, and those of the others in it.
    private struct Origin: Hashable {
        var number: UInt64
        var endpoints: UInt64?
        var secrets: [UInt64?]
    }

    private struct Made<Object> {
        var origin: Origin
        var object: Object
        /// What was missing, told once.
        var problems: [String]
    }

    private var listeners: [String: Made<ServedListener>] = [:]
    private var clusters: [String: Made<ServedCluster>] = [:]
    /// Of clusters, which often say the same: by what they say and the secrets in it.
    private var settings: [SettingsKey: TransportSecurity] = [:]
    private var shared = SharedTLS()
    /// For all listeners, so that clients resume their sessions across changes; nil: the system has no randomness.
    private let ticketKeys = try? TLSTicketKeys()

    private struct SettingsKey: Hashable {
        var transport: ClusterConfiguration.Transport
        var secrets: [UInt64?]
    }

    /// - Returns: with what is wrong with what has changed.
    mutating func assemble(_ table: ResourceTable<CompiledResource>) -> (ProxyConfiguration, problems: [String]) {
        var problems: [String] = []
        var routes: [String: RouteTable] = [:]
        for (name, resource) in table.routes {
            if case .routes(let routeTable) = resource.value { routes[name] = routeTable }
        }
        var newListeners: [String: Made<ServedListener>] = [:]
        for (name, resource) in table.listeners {
            guard case .listener(let configuration) = resource.value else { continue }
            let origin = Self.origin(of: resource, in: table)
            if let made = listeners[name], made.origin == origin {
                newListeners[name] = made
            } else {
                let made = listener(resource, configuration, origin, table)
                problems += made.problems
                newListeners[name] = made
            }
        }
        var newClusters: [String: Made<ServedCluster>] = [:]
        var newSettings: [SettingsKey: TransportSecurity] = [:]
        for (name, resource) in table.clusters {
            guard case .cluster(let configuration, let transports) = resource.value else { continue }
            let origin = Self.origin(of: resource, in: table)
            if let made = clusters[name], made.origin == origin {
                newClusters[name] = made
                for key in Self.keys(configuration, transports, table) { newSettings[key] = settings[key] }
            } else {
                let made = cluster(resource, configuration, transports, origin, table, &newSettings)
                problems += made.problems
                newClusters[name] = made
            }
        }
        (listeners, clusters, settings) = (newListeners, newClusters, newSettings)
        let configuration = ProxyConfiguration(
            listeners: newListeners.mapValues(\.object), routes: routes, clusters: newClusters.mapValues(\.object))
        return (configuration, problems.sorted())
    }

    private static func origin(
        of resource: StoredResource<CompiledResource>, in table: ResourceTable<CompiledResource>
    ) -> Origin {
        Origin(
            number: resource.number,
            endpoints: resource.references.endpoints.first.flatMap { table.endpoints[$0]?.number },
            secrets: resource.references.secrets.sorted().map { table.secrets[$0]?.number })
    }

    private static func secrets(_ table: ResourceTable<CompiledResource>) -> TLSMaking.Secrets {
        { name in
            guard case .secret(let material)? = table.secrets[name]?.value else { return nil }
            return material
        }
    }

    private func listener(
        _ resource: StoredResource<CompiledResource>, _ configuration: ListenerConfiguration, _ origin: Origin,
        _ table: ResourceTable<CompiledResource>
    ) -> Made<ServedListener> {
        var settings: [(chain: FilterChain, settings: TLSSettings)] = []
        var problems: [String] = []
        for chain in configuration.allChains {
            guard let tls = chain.tls else { continue }
            do {
                settings.append((chain, try TLSMaking.server(tls, ticketKeys: ticketKeys, Self.secrets(table))))
            } catch {
                // Connections that the chain is for are closed: what was meant to be TLS is never plaintext.
                problems.append("listener \(resource.name), chain \(chain.name): \(error)")
            }
        }
        return Made(
            origin: origin,
            object: ServedListener(name: resource.name, configuration: configuration, tls: settings), problems: problems
        )
    }

    private static func keys(
        _ configuration: ClusterConfiguration, _ transports: [TransportRules],
        _ table: ResourceTable<CompiledResource>
    ) -> [SettingsKey] {
        zip(configuration.transports, transports).compactMap { transport, rules in
            guard case .tls = rules else { return nil }
            return SettingsKey(transport: transport, secrets: rules.secrets.map { table.secrets[$0]?.number })
        }
    }

    private mutating func cluster(
        _ resource: StoredResource<CompiledResource>, _ configuration: ClusterConfiguration,
        _ transports: [TransportRules], _ origin: Origin, _ table: ResourceTable<CompiledResource>,
        _ newSettings: inout [SettingsKey: TransportSecurity]
    ) -> Made<ServedCluster> {
        var problems: [String] = []
        var security: [TransportSecurity] = []
        for (transport, rules) in zip(configuration.transports, transports) {
            guard case .tls(let tls) = rules else {
                security.append(.plaintext)
                continue
            }
            let key = SettingsKey(transport: transport, secrets: tls.rules.secrets.map { table.secrets[$0]?.number })
            if let made = newSettings[key] ?? settings[key] {
                newSettings[key] = made
                security.append(made)
                continue
            }
            do {
                let settings = try TLSMaking.client(tls, &shared, Self.secrets(table))
                let made = TransportSecurity.tls(settings, TransportSecurity.ServerNaming(tls, settings))
                newSettings[key] = made
                security.append(made)
            } catch {
                problems.append("cluster \(resource.name): \(error)")
                security.append(.unusable)
            }
        }
        var endpoints: EndpointSet?
        if let name = resource.references.endpoints.first, case .endpoints(let set)? = table.endpoints[name]?.value {
            endpoints = set
        }
        return Made(
            origin: origin,
            object: ServedCluster(
                name: resource.name, configuration: configuration, endpoints: endpoints, security: security),
            problems: problems)
    }
}

extension TransportSecurity.ServerNaming {
    fileprivate init(_ tls: UpstreamTLS, _ settings: TLSSettings) {
        let validation = tls.rules.validation
        // Without anybody to believe names are checked still, where requests bring some; as in Envoy.
        let isOpen = settings.configuration.acceptedPeers == .anybody
        self.init(
            sendsEndpointName: tls.sendsEndpointName, checksSentName: tls.checksSentName,
            acceptsUntrusted: isOpen && (validation.acceptsUntrusted || validation.secret != nil))
    }
}
