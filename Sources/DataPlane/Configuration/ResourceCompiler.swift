import EnvoyAPI
import Forwarding
import Protobuf
import Synchronization
import XDS

/// A resource as the proxy uses it.
public enum CompiledResource: Sendable {
    case listener(ListenerConfiguration)
    case routes(RouteTable)
    /// With what its transports mean, in the order of its own list.
    case cluster(ClusterConfiguration, [TransportRules])
    case endpoints(EndpointSet)
    case secret(SecretMaterial)
}

/// Makes resources ready for use, and says exactly what is wrong with those that cannot be.
///
/// The verdict goes out before the resource comes in; what was compiled for it is kept for that moment.
final class ResourceCompiler: Sendable {
    struct Compiled: Sendable {
        /// As the resource itself has it.
        var name: String
        var references: ResourceReferences
        var value: CompiledResource
    }

    private struct Key: Hashable {
        var type: ResourceType
        var name: String
    }

    /// Unchecked: the reference is set once, and cleared by the runtime, which takes care of threads.
    private final class Weakly: @unchecked Sendable {
        private(set) weak var listener: ListenerConfiguration?

        init(listener: ListenerConfiguration) { self.listener = listener }
    }

    /// What is served, so that chains that stay the same are the same objects.
    private let listeners = Mutex<[String: Weakly]>([:])
    /// The static resources, which the control plane does not change.
    private let fixed: Set<Key>

    init(fixed: [(type: ResourceType, name: String)] = []) {
        self.fixed = Set(fixed.map { Key(type: $0.type, name: $0.name) })
    }

    /// Whether a resource is of the command line or the bootstrap file.
    func isFixed(_ type: ResourceType, _ name: String) -> Bool { fixed.contains(Key(type: type, name: name)) }

    private let fresh = Mutex<[Key: (body: [UInt8], compiled: Compiled)]>([:])

    /// The verdict over a resource of the control plane.
    func judge(_ type: ResourceType, _ resource: ReceivedResource) -> ResourceVerdict {
        let body = resource.body ?? []
        do throws(ConfigurationError) {
            let compiled = try compile(type, body, resource.name)
            let name = resource.name.isEmpty ? compiled.name : resource.name
            // A name of the new form says more than the resource's own. Source: xRFC TP1.
            guard name == compiled.name || name.hasPrefix("xdstp:") else {
                return .rejected(
                    name: name, reason: "\(type.nameField): it says `\(compiled.name)`, and is sent as `\(name)`")
            }
            if isFixed(type, name) {
                return .rejected(name: name, reason: "name: a static resource has the name `\(name)`; choose another")
            }
            fresh.withLock { $0[Key(type: type, name: name)] = (body, compiled) }
            return .accepted(name: name)
        } catch {
            return .rejected(name: resource.name.isEmpty ? nil : resource.name, reason: "\(error)")
        }
    }

    /// What was compiled of an accepted resource.
    func take(_ type: ResourceType, _ resource: HeldResource) throws(ConfigurationError) -> Compiled {
        let key = Key(type: type, name: resource.name)
        let compiled: Compiled
        if let found = fresh.withLock({ $0.removeValue(forKey: key) }), found.body == resource.body {
            compiled = found.compiled
        } else {
            compiled = try compile(type, resource.body, resource.name)
        }
        if case .listener(let listener) = compiled.value {
            listeners.withLock { known in
                known = known.filter { $0.value.listener != nil }
                known[resource.name] = Weakly(listener: listener)
            }
        }
        return compiled
    }

    private func compile(
        _ type: ResourceType, _ body: [UInt8], _ name: String
    ) throws(ConfigurationError) -> Compiled {
        try Self.compile(type, body, replacing: type == .listener ? listeners.withLock { $0[name]?.listener } : nil)
    }

    /// Forgets what nobody took: resources that were sent again unchanged.
    func forget() { fresh.withLock { $0 = [:] } }

    static func compile(
        _ type: ResourceType, _ body: [UInt8], replacing old: ListenerConfiguration? = nil
    ) throws(ConfigurationError) -> Compiled {
        guard let descriptor = type.descriptor else {
            throw .unsupported(path: "", message: "\(type) is not asked for by this proxy")
        }
        let arena = Arena()
        let message: DynamicMessage
        let references: ResourceReferences
        do throws(ProtobufError) {
            message = try arena.decode(descriptor, from: body, types: envoyTypes)
            references = try ResourceReferences(of: message)
        } catch {
            throw ConfigurationError(error)
        }
        let name = message.string(type.nameField) ?? ""
        guard !name.isEmpty else { throw .invalid(path: type.nameField, message: "it is missing") }
        return Compiled(name: name, references: references, value: try value(type, message, body, old))
    }

    private static func value(
        _ type: ResourceType, _ message: DynamicMessage, _ body: [UInt8], _ old: ListenerConfiguration?
    ) throws(ConfigurationError) -> CompiledResource {
        switch type {
        case .listener:
            let listener = try ListenerConfiguration(body, replacing: old, files: GivenFiles.read)
            for chain in listener.allChains {
                guard let tls = chain.tls else { continue }
                do throws(ConfigurationError) {
                    try TLSMaking.check(tls)
                } catch {
                    throw error.under("filter chain `\(chain.name)`: transport_socket.typed_config")
                }
            }
            return .listener(listener)
        case .route: return .routes(try RouteTable(body, files: GivenFiles.read))
        case .cluster:
            let cluster = try ClusterConfiguration(body)
            return .cluster(cluster, try transports(of: cluster))
        case .endpoints: return .endpoints(try EndpointSet(body))
        default:
            guard let secret = message.cast(to: Secret.self) else {
                throw .unsupported(path: "", message: "\(type) is not asked for by this proxy")
            }
            return .secret(try SecretMaterial(secret.pointee))
        }
    }

    private static func transports(of cluster: ClusterConfiguration) throws(ConfigurationError) -> [TransportRules] {
        let arena = Arena()
        var all: [TransportRules] = []
        for transport in cluster.transports {
            do throws(ConfigurationError) {
                let content =
                    transport.type.isEmpty
                    ? nil : arena.any(typeURL: "type.googleapis.com/" + transport.type, arena.bytes(transport.bytes))
                let rules = try TransportRules(upstream: transport.name, content?.pointee)
                try TLSMaking.check(rules, cluster.http)
                all.append(rules)
            } catch {
                throw error.under("transport_socket")
            }
        }
        return all
    }
}

/// Why a resource is not usable, in words.
struct ConfigurationProblem: Error {
    var description: String
}
