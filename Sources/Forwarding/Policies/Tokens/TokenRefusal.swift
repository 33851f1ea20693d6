/// Why a request is not let through by its tokens. The words are Envoy's, because people look for them.
/// Source: jwt_verify_lib, `getStatusString`.
public enum TokenRefusal: Hashable, Sendable {
    case missing
    case notYetValid
    case expired
    case badForm
    case headerNotBase64, headerNotJSON, algorithmMissing, algorithmUnsupported, keyIDNoText
    case payloadNotBase64, payloadNotJSON, issuerNoText, subjectNoText, audienceNoText
    case issuedAtNoNumber, notBeforeNoNumber, expiryNoNumber
    case signatureNotBase64
    case unknownIssuer
    case audienceNotAllowed
    case subjectNotAllowed
    case expiryMissing
    case lifetimeTooLong
    case noKeys
    case noKeyMatches
    case signatureInvalid
    case keysNotFetched

    public var text: String {
        switch self {
        case .missing: "Jwt is missing"
        case .notYetValid: "Jwt not yet valid"
        case .expired: "Jwt is expired"
        case .badForm: "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
        case .headerNotBase64: "Jwt header is an invalid Base64url encoded"
        case .headerNotJSON: "Jwt header is an invalid JSON"
        case .algorithmMissing: "Jwt header [alg] field is required and must be a string"
        case .algorithmUnsupported: "Jwt header [alg] is not supported"
        case .keyIDNoText: "Jwt header [kid] field is not a string"
        case .payloadNotBase64: "Jwt payload is an invalid Base64url encoded"
        case .payloadNotJSON: "Jwt payload is an invalid JSON"
        case .issuerNoText: "Jwt payload [iss] field is not a string"
        case .subjectNoText: "Jwt payload [sub] field is not a string"
        case .audienceNoText: "Jwt payload [aud] field is not a string or string list"
        case .issuedAtNoNumber: "Jwt payload [iat] field is not an integer"
        case .notBeforeNoNumber: "Jwt payload [nbf] field is not an integer"
        case .expiryNoNumber: "Jwt payload [exp] field is not an integer"
        case .signatureNotBase64: "Jwt signature is an invalid Base64url encoded"
        case .unknownIssuer: "Jwt issuer is not configured"
        case .audienceNotAllowed: "Audiences in Jwt are not allowed"
        case .subjectNotAllowed: "Jwt subject is not allowed"
        case .expiryMissing: "Jwt has no expiration"
        case .lifetimeTooLong: "Jwt lifetime is too long"
        case .noKeys: "Jwks doesn't have any valid public key"
        case .noKeyMatches: "Jwks doesn't have key to match kid or alg from Jwt"
        case .signatureInvalid: "Jwt verification fails"
        case .keysNotFetched: "Jwks remote fetch is failed"
        }
    }

    /// 403 for a token that is good and for somebody else, else 401. Source: Envoy, `jwt_authn/filter.cc`.
    public var status: UInt16 { self == .audienceNotAllowed ? 403 : 401 }
}
