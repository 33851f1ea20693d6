import Discovery
import EnvoyAPI
import GRPC
import Protobuf

/// gRPC server reflection, v1 and v1alpha: the generated definitions, for grpcurl and its like.
/// Source: gRPC, "GRPC Server Reflection Protocol".
struct ReflectionService: Service {
    /// Full names, sorted.
    let services: [String]

    /// - Parameter served: full names of the services beside reflection itself; doubles are dropped.
    init(served: [String]) {
        services = Set(served + [ServerReflection.name, ServerReflectionAlpha.name]).sorted()
    }

    var methods: [GRPCMethod] {
        [ServerReflection.serverReflectionInfo, ServerReflectionAlpha.serverReflectionInfo].map {
            GRPCMethod($0, clientStreams: true, serverStreams: true)
        }
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler { Questions(self, call) }

    /// Answers one question after the other.
    private final class Questions: ServiceCallHandler {
        private let service: ReflectionService
        private let call: ServiceCall
        /// The files that this client has: each is sent once.
        private var sent: Set<String> = []
        private var isFinished = false

        init(_ service: ReflectionService, _ call: ServiceCall) {
            self.service = service
            self.call = call
        }

        func received(_ message: UnsafeRawBufferPointer) {
            guard !isFinished else { return }
            let arena = Arena()
            do throws(ProtobufError) {
                // The two versions differ in their package alone: what travels is the same.
                let request = try arena.decode(ServerReflectionRequest.self, from: message)
                call.send(encode(answer(request, arena)))
            } catch {
                isFinished = true
                call.finish(GRPCStatus(.invalidArgument, "malformed request: \(error)"))
            }
        }

        func halfClosed() {
            guard !isFinished else { return }
            isFinished = true
            call.finish(.ok)
        }

        func ended() {}

        private func answer(
            _ request: UnsafeMutablePointer<ServerReflectionRequest>, _ arena: Arena
        ) -> UnsafeMutablePointer<ServerReflectionResponse> {
            arena.make { response in
                response.valid_host = request.pointee.host
                response.original_request = request
                switch request.pointee.message_request {
                case .file_by_filename(let name):
                    answer(DefinedFile(named: name), "file \(name)", &response, arena)
                case .file_containing_symbol(let symbol):
                    answer(DefinedFile(defining: symbol), "symbol \(symbol)", &response, arena)
                case .file_containing_extension(let wanted):
                    let name = wanted.pointee.containing_type.string
                    fail(.notFound, "\(name) has no extension \(wanted.pointee.extension_number)", &response, arena)
                case .all_extension_numbers_of_type(let name):
                    guard DefinedFile(defining: name) != nil else {
                        return fail(.notFound, "there is no type \(name)", &response, arena)
                    }
                    // proto3 has no extensions.
                    response.set(
                        all_extension_numbers_response: arena.make { $0.base_type_name = arena(name) })
                case .list_services:
                    response.set(
                        list_services_response: arena.make {
                            ($0.n_service, $0.service) = arena.list(
                                service.services.map { name in arena.make { $0.name = arena(name) } })
                        })
                case nil:
                    fail(.invalidArgument, "the request asks for nothing", &response, arena)
                }
            }
        }

        /// The file and what it imports, as far as this client has not had it.
        private func answer(
            _ file: DefinedFile?, _ what: String, _ response: inout ServerReflectionResponse, _ arena: Arena
        ) {
            guard let file else { return fail(.notFound, "there is no \(what)", &response, arena) }
            // The file that was asked for comes first, and always.
            var files = [file]
            var seen: Set<String> = [file.name]
            var position = 0
            while position < files.count {
                for dependency in files[position].dependencies where seen.insert(dependency.name).inserted {
                    files.append(dependency)
                }
                position += 1
            }
            let wanted = files.prefix(1) + files.dropFirst().filter { !sent.contains($0.name) }
            sent.formUnion(wanted.map(\.name))
            response.set(
                file_descriptor_response: arena.make {
                    ($0.n_file_descriptor_proto, $0.file_descriptor_proto) = arena.values(
                        wanted.map { arena.bytes($0.serialized) })
                })
        }

        private func fail(
            _ code: GRPCStatusCode, _ words: String, _ response: inout ServerReflectionResponse, _ arena: Arena
        ) {
            response.set(
                error_response: arena.make {
                    $0.error_code = Int32(code.rawValue)
                    $0.error_message = arena(words)
                })
        }
    }
}
