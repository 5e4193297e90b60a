using System.Runtime.CompilerServices;

// Every native signature here is blittable: what is written is what is passed.
[assembly: DisableRuntimeMarshalling]
