import EnvoyAPI
import GRPC
import Protobuf
import Time

/// The messages by which the control plane signs tokens.
enum TokenOrder {
    /// A packed SignJWTRequest.
    static func request(_ audience: [String]) -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(WorkloadSignJWTRequest.self) { ($0.n_audience, $0.audience) = arena.strings(audience) })
    }

    static func token(in answer: [UInt8], now: Timestamp) -> Result<IssuedToken, GRPCStatus> {
        let arena = Arena()
        do throws(ProtobufError) {
            let response = try arena.decode(WorkloadSignJWTResponse.self, from: answer).pointee
            let token = IssuedToken(
                text: response.token.string, spiffeID: response.spiffe_id.string, issuedAt: now,
                expiresAt: Timestamp(seconds: min(max(response.expires_at, 0), 9_000_000_000)))
            guard !token.text.isEmpty, now < token.expiresAt else {
                return .failure(GRPCStatus(.unavailable, "the control plane gave no valid token; check both clocks"))
            }
            return .success(token)
        } catch {
            return .failure(GRPCStatus(.unavailable, "the control plane's answer is malformed: \(error)"))
        }
    }
}
