import Discovery
import GRPC

/// Who may call a service that is not for everybody.
enum Access {
    /// Changes the configuration: the socket's file is open to its owner only, and a client certificate was verified.
    static func control(_ origin: CallOrigin) -> GRPCStatus? {
        switch origin.transport {
        case .unix, .mtls: nil
        case .plaintext, .tls:
            GRPCStatus(
                .permissionDenied,
                "the control service is for the Unix socket and for mutual TLS, and this call came over "
                    + "\(origin.transport.rawValue); use control.sock in the data directory, or show a client certificate"
            )
        }
    }

    /// Shows what proxies are sent, secrets' names included.
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
