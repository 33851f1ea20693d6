extension ArraySlice<UInt8> {
    /// Takes a number of Protobuf's wire format off the start, for messages that no generated type describes.
    /// - Returns: nil if there is no whole one.
    mutating func takeVarint() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 64, by: 7) {
            guard let byte = popFirst() else { return nil }
            value |= UInt64(byte & 0x7F) << UInt64(shift)
            if byte & 0x80 == 0 { return value }
        }
        return nil
    }
}
