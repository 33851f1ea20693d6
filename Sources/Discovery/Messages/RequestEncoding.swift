import EnvoyAPI
import GRPC
import Protobuf
import XDS

/// Packs a client's request as one gRPC message, length prefix included.
func frame(_ request: XDS.DiscoveryRequest) -> [UInt8] {
    let arena = Arena()
    return GRPC.frame(
        encode(
            arena.make(EnvoyAPI.DiscoveryRequest.self) {
                $0.version_info = arena(request.versionInfo)
                $0.node = request.node.map(arena.node)
                ($0.n_resource_names, $0.resource_names) = arena.strings(request.resourceNames)
                $0.type_url = arena(request.typeURL)
                $0.response_nonce = arena(request.responseNonce)
                $0.error_detail = request.errorDetail.map(arena.status)
            }))
}

/// Packs a client's incremental request as one gRPC message, length prefix included.
func frame(_ request: XDS.DeltaDiscoveryRequest) -> [UInt8] {
    let arena = Arena()
    return GRPC.frame(
        encode(
            arena.make(EnvoyAPI.DeltaDiscoveryRequest.self) {
                $0.node = request.node.map(arena.node)
                $0.type_url = arena(request.typeURL)
                ($0.n_resource_names_subscribe, $0.resource_names_subscribe) = arena.strings(
                    request.resourceNamesSubscribe)
                ($0.n_resource_names_unsubscribe, $0.resource_names_unsubscribe) = arena.strings(
                    request.resourceNamesUnsubscribe)
                ($0.n_initial_resource_versions, $0.initial_resource_versions) = arena.map(
                    request.initialResourceVersions.sorted { $0.key < $1.key }.map { ($0.key, arena($0.value)) })
                $0.response_nonce = arena(request.responseNonce)
                $0.error_detail = request.errorDetail.map(arena.status)
            }))
}

extension Arena {
    /// The message of a node; the principal is not in it.
    public func node(_ node: XDS.Node) -> UnsafeMutablePointer<EnvoyAPI.Node> {
        make {
            $0.id = self(node.id)
            $0.cluster = self(node.cluster)
            $0.metadata = structure(node.metadata)
            $0.locality = make {
                $0.region = self(node.locality.region)
                $0.zone = self(node.locality.zone)
                $0.sub_zone = self(node.locality.subZone)
            }
            let agent = node.userAgent.split(separator: "/", maxSplits: 1).map(String.init)
            if let name = agent.first { $0.user_agent_name = self(name) }
            if agent.count == 2 { $0.set(user_agent_version: self(agent[1])) }
            ($0.n_client_features, $0.client_features) = strings(node.clientFeatures)
        }
    }

    func status(_ detail: ErrorDetail) -> UnsafeMutablePointer<EnvoyAPI.RpcStatus> {
        make {
            $0.code = detail.code
            $0.message = self(detail.message)
        }
    }

    private func structure(_ fields: [String: MetadataValue]) -> UnsafeMutablePointer<ProtobufStruct> {
        structure(fields.sorted { $0.key < $1.key }.map { StructureValue.Field($0.key, StructureValue($0.value)) })
    }
}

extension StructureValue {
    init(_ value: MetadataValue) {
        self =
            switch value {
            case .null: .null
            case .bool(let bool): .bool(bool)
            case .number(let number): .number(number)
            case .string(let text): .string(text)
            case .list(let items): .list(items.map(StructureValue.init))
            case .object(let fields):
                .object(fields.sorted { $0.key < $1.key }.map { Field($0.key, StructureValue($0.value)) })
            }
    }
}
