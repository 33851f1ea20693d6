import Certificates
import Discovery
import GRPC
import TLS
import XDS

/// Who may call a service that is not for everybody.
enum Access {
    /// Changes the configuration: the socket's file is open to its owner only, and over mutual TLS every proxy has a
    /// certificate, so that operators are named one by one.
    /// - Parameter operators: URI or DNS names of client certificates.
    static func control(_ origin: CallOrigin, operators: Set<String>) -> GRPCStatus? {
        switch origin.transport {
        case .unix: return nil
        case .mtls:
            let names = names(of: origin)
            if !operators.isDisjoint(with: names) { return nil }
            return GRPCStatus(
                .permissionDenied,
                "the certificate of \(names.isEmpty ? "this client" : names.joined(separator: ", ")) does not name an "
                    + "operator; start the server with --operator and one of its names, or use control.sock in the "
                    + "data directory")
        case .plaintext, .tls:
            return GRPCStatus(
                .permissionDenied,
                "the control service is for the Unix socket and for operators over mutual TLS, and this call came over "
                    + "\(origin.transport.rawValue); use control.sock in the data directory, or show a client certificate"
            )
        }
    }

    /// URI and DNS names of the client's certificate.
    static func names(of origin: CallOrigin) -> [String] {
        origin.certificates.first.flatMap { try? Certificate(der: $0) }.map { $0.uris + $0.dnsNames } ?? []
    }

    /// Proxies whose status a caller sees.
    enum VisibleProxies: Equatable {
        case all
        /// Those that have proved to be this; nil: none.
        case own(principal: String?)

        func includes(_ node: Node) -> Bool {
            switch self {
            case .all: true
            case .own(let principal): principal != nil && node.principal == principal
            }
        }
    }

    /// This machine's users and operators see all proxies; a member of the mesh sees itself.
    static func visibleProxies(_ origin: CallOrigin, operators: Set<String>) -> VisibleProxies {
        switch origin.transport {
        case .unix, .plaintext: return .all
        case .mtls, .tls:
            if !operators.isDisjoint(with: names(of: origin)) { return .all }
            return .own(principal: (try? PeerProof(origin, GRPCMetadata()))?.principal)
        }
    }

    /// Shows what proxies are sent, secrets' names included: which, says ``visibleProxies(_:operators:)``.
    static func clientStatus(_ origin: CallOrigin) -> GRPCStatus? {
        switch origin.transport {
        case .unix, .mtls: nil
        case .plaintext where origin.isLoopback: nil
        case .plaintext, .tls:
            GRPCStatus(
                .permissionDenied,
                "client status is for the Unix socket, for mutual TLS, and for plaintext from this machine; "
                    + "this call came over \(origin.transport.rawValue) from \(origin.peer)")
        }
    }
}

/// Takes no message: the call was refused.
final class RefusedCall: ServiceCallHandler {
    init(_ call: ServiceCall, _ status: GRPCStatus) { call.finish(status) }

    func received(_ message: UnsafeRawBufferPointer) {}
    func halfClosed() {}
    func ended() {}
}
