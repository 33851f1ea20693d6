import EnvoyAPI
import GRPC
import Protobuf
import XDS

/// Packs a response as one gRPC message, length prefix included: what every stream that is sent it shares.
func frame(_ response: PreparedResponse) -> [UInt8] {
    let arena = Arena()
    switch response.form {
    case .delta: return GRPC.frame(encode(arena.deltaResponse(response)))
    case .stateOfTheWorld, .stateOfTheWorldWithWrappers: return GRPC.frame(encode(arena.fullResponse(response)))
    }
}

extension Arena {
    fileprivate func deltaResponse(
        _ response: PreparedResponse
    ) -> UnsafeMutablePointer<EnvoyAPI.DeltaDiscoveryResponse> {
        make {
            $0.system_version_info = self(response.version)
            $0.type_url = self(response.type.typeURL)
            $0.nonce = self(response.nonce)
            ($0.n_resources, $0.resources) = list(response.resources.map { wrapper(of: $0, in: response) })
            ($0.n_removed_resources, $0.removed_resources) = strings(response.removedNames)
            ($0.n_resource_errors, $0.resource_errors) = list(response.errors.map(resourceError))
            $0.control_plane = controlPlane()
        }
    }

    fileprivate func fullResponse(_ response: PreparedResponse) -> UnsafeMutablePointer<EnvoyAPI.DiscoveryResponse> {
        make {
            $0.version_info = self(response.version)
            $0.type_url = self(response.type.typeURL)
            $0.nonce = self(response.nonce)
            ($0.n_resources, $0.resources) = list(
                response.resources.map { response.wraps($0) ? any(wrapper(of: $0, in: response)) : body(of: $0) })
            ($0.n_resource_errors, $0.resource_errors) = list(response.errors.map(resourceError))
            $0.control_plane = controlPlane()
        }
    }

    private func wrapper(
        of resource: XDS.Resource, in response: PreparedResponse
    ) -> UnsafeMutablePointer<EnvoyAPI.Resource> {
        make {
            $0.name = self(resource.name)
            $0.version = self(response.wrapperVersion(of: resource))
            ($0.n_aliases, $0.aliases) = strings(resource.aliases)
            if !response.omitsBody(of: resource) { $0.resource = body(of: resource) }
            if let timeToLive = resource.timeToLive { $0.ttl = duration(timeToLive) }
        }
    }

    private func body(of resource: XDS.Resource) -> UnsafeMutablePointer<ProtobufAny> {
        any(typeURL: resource.type.typeURL, bytes(resource.body))
    }

    private func resourceError(_ resource: XDS.Resource) -> UnsafeMutablePointer<EnvoyAPI.ResourceError> {
        make { entry in
            entry.resource_name = make { $0.name = self(resource.name) }
            guard let error = resource.error else { return }
            entry.error_detail = make {
                $0.code = error.code
                $0.message = self(error.message)
            }
        }
    }

    private func controlPlane() -> UnsafeMutablePointer<EnvoyAPI.ControlPlane> {
        make { $0.identifier = self("martinet") }
    }
}
