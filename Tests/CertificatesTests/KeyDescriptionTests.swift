import Certificates
import Testing

@Test func aPrivateKeyDescribesItselfWithoutItsBytes() throws {
    let key = try PrivateKey.generate(.ecdsaP256)
    let pem = String(decoding: try key.pem(), as: UTF8.self)
    let line = try #require(pem.split(separator: "\n").dropFirst().first)
    #expect(!"\(key)".contains(line))
    #expect(!String(reflecting: key).contains(line))
}
